"""The format of promotions.json: the Structs decode it strictly, and promotions.schema.json is generated from them.

Their descriptions are what an editor shows to who writes the file. `python -m shared.adapters.promotions_format` prints
the schema.
"""

import json
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from shared.domain.device_state import OFFERS_REMEMBERED
from shared.domain.presence import REST_US, SECOND_US
from shared.domain.promotions import ContactPolicy, PresenceParameters
from shared.settings import STATE_TTL

_TTL_S = int(STATE_TTL.total_seconds())
_WEEK_S = 7 * 86_400
_POLICY = ContactPolicy()
_PRESENCE = PresenceParameters()

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = Meta(pattern=f"^{_CLOCK}$", examples=["09:00"])
_END_TIME = Meta(pattern=f"^({_CLOCK}|24:00)$", examples=["17:30", "24:00"])
Text = Annotated[str, Meta(min_length=1, max_length=128)]
Names = Annotated[list[Text], Meta(min_length=1)]
Instant = Annotated[datetime, Meta(tz=True, examples=["2026-06-01T09:00:00+01:00"])]


class StoresSelected(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Which stores run the promotion: those that satisfy every condition given (at least one)."""

    store_ids: Annotated[Names | None, Meta(description="Stores with one of these ids.")] = None
    merchants: Annotated[Names | None, Meta(description="Stores of one of these merchants.")] = None
    service_types: Annotated[Names | None, Meta(description="Stores of one of these service types.")] = None


class HoursEntry(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Hours of the day on some days, by the clock at the store; they may go over midnight."""

    from_: Annotated[str, _TIME, Meta(description="When they begin, such as 09:00.")] = field(name="from")
    to: Annotated[
        str, _END_TIME, Meta(description="When they end, such as 17:30 or 24:00; earlier than `from`: on the next day.")
    ]
    days: Annotated[
        Annotated[list[Day], Meta(min_length=1)] | None,
        Meta(description="The days on which they begin; without this, every day."),
    ] = None


class QuietHoursEntry(Struct, forbid_unknown_fields=True):
    """Hours of every day without offers, by the clock at the store; they may go over midnight."""

    from_: Annotated[str, _TIME, Meta(description="When the quiet begins, such as 22:00.")] = field(name="from")
    to: Annotated[
        str, _END_TIME, Meta(description="When it ends, such as 08:00; earlier than `from`: on the next day.")
    ]


_Seconds = Annotated[int, Meta(ge=0, le=_TTL_S)]
_Age = Annotated[int, Meta(ge=0, le=_WEEK_S)]
_Cap = Annotated[int, Meta(ge=1, le=OFFERS_REMEMBERED)]
_COOLDOWN = Meta(description="Least seconds between two offers to the same device at the same store.")
_DAILY_CAP = Meta(description="Most offers to one device a day, by the store's calendar; null: any number.")
_MIN_GAP = Meta(description="Least seconds between two offers to the same device, at whatever stores.")
_QUIET_HOURS = Meta(description="Hours of the day without offers, by the clock at the store; null: none.")
_MAX_PING_AGE = Meta(description="A position that was older than so many seconds when it arrived leads to no offer.")


class PromotionPolicyEntry(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What differs for this promotion from the contact policy of the file; what is not said here is as it is there."""

    cooldown_s: Annotated[_Seconds | UnsetType, _COOLDOWN] = UNSET
    daily_cap: Annotated[_Cap | UnsetType | None, _DAILY_CAP] = UNSET
    min_gap_s: Annotated[_Seconds | UnsetType, _MIN_GAP] = UNSET
    quiet_hours: Annotated[QuietHoursEntry | UnsetType | None, _QUIET_HOURS] = UNSET
    max_ping_age_s: Annotated[_Age | UnsetType, _MAX_PING_AGE] = UNSET


class ContactPolicyEntry(Struct, forbid_unknown_fields=True):
    """How often a device may hear from the stores, and when."""

    cooldown_s: Annotated[_Seconds, _COOLDOWN] = _POLICY.cooldown_s
    daily_cap: Annotated[_Cap | None, _DAILY_CAP] = _POLICY.daily_cap
    min_gap_s: Annotated[_Seconds, _MIN_GAP] = _POLICY.min_gap_s
    quiet_hours: Annotated[QuietHoursEntry | None, _QUIET_HOURS] = None
    max_ping_age_s: Annotated[_Age, _MAX_PING_AGE] = _POLICY.max_ping_age_s
    require_consent: Annotated[
        bool, Meta(description="Whether only devices whose pings say that they agreed (consent: true) get offers.")
    ] = False


class PromotionEntry(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One promotion: what is offered, where, when and to whom."""

    promotion_id: Annotated[
        Text, Meta(description="Its name in all records; do not use it again for another promotion.")
    ]
    discount_percent: Annotated[float, Meta(gt=0, le=100, description="The discount, in percent.")]
    message: Annotated[str, Meta(min_length=1, max_length=500, description="What the shopper reads.")]
    stores: Annotated[
        Literal["all"] | StoresSelected, Meta(description='Which stores run it: "all", or those that are selected.')
    ]
    starts_at: Annotated[Instant | None, Meta(description="From when it runs; without it, from the beginning.")] = None
    ends_at: Annotated[Instant | None, Meta(description="When it has ended; without it, it never ends.")] = None
    hours: Annotated[
        Annotated[list[HoursEntry], Meta(min_length=1)] | None,
        Meta(description="When in the week it runs: in any of these hours; without them, always."),
    ] = None
    trigger: Annotated[
        Literal["ENTER", "DWELL"],
        Meta(description="ENTER: who comes gets it. DWELL: only who stays, for the loitering delay of the store."),
    ] = "ENTER"
    priority: Annotated[
        int,
        Meta(ge=-1_000, le=1_000, description="Of all promotions that fit, the one with the highest priority wins."),
    ] = 0
    holdout_percent: Annotated[
        float, Meta(ge=0, le=100, description="So many of the devices get no offer, to measure what offers change.")
    ] = 0
    max_offers: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000_000)] | None,
        Meta(description="The budget: most offers in all; without it, any number."),
    ] = None
    contact_policy: Annotated[
        PromotionPolicyEntry | None, Meta(description="What differs from the contact policy of the file.")
    ] = None


class PresenceEntry(Struct, forbid_unknown_fields=True):
    """What it takes to be inside a geofence, and outside again."""

    exit_margin_m: Annotated[
        float, Meta(ge=0, le=1_000, description="A device has left only when it is so many metres outside.")
    ] = _PRESENCE.exit_margin_m
    exit_delay_s: Annotated[
        int,
        Meta(ge=0, le=3_600, description="And only when it stays there for so many seconds, by two pings at least."),
    ] = _PRESENCE.exit_delay_s
    visit_timeout_s: Annotated[
        int,
        Meta(
            ge=60,
            le=REST_US // SECOND_US,
            description="So many seconds without a ping inside end a visit, unless the next ping is inside again.",
        ),
    ] = _PRESENCE.visit_timeout_s
    max_accuracy_m: Annotated[
        float, Meta(gt=0, le=10_000, description="A ping that is less accurate than so many metres makes nobody enter.")
    ] = _PRESENCE.max_accuracy_m


class PromotionsFile(Struct, forbid_unknown_fields=True):
    """The promotions of all stores, the contact policy and the presence parameters."""

    promotions: Annotated[list[PromotionEntry], Meta(description="The promotions; their order does not matter.")]
    contact_policy: Annotated[
        ContactPolicyEntry, Meta(description="How often a device may hear from the stores, and when.")
    ] = field(default_factory=ContactPolicyEntry)
    presence: Annotated[
        PresenceEntry, Meta(description="What it takes to be inside a geofence, and outside again.")
    ] = field(default_factory=PresenceEntry)
    schema: Annotated[str | None, Meta(description="Where an editor finds this schema.")] = field(
        default=None, name="$schema"
    )


def json_schema() -> dict[str, Any]:
    """The JSON Schema of promotions.json, generated from the types that decode it."""
    schema = msgspec.json.schema(PromotionsFile)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Footfall promotions.json"} | schema


if __name__ == "__main__":
    import sys

    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
