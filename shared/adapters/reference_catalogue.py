"""Published reference data in a blob container: `catalogue.json`, and the files below `versions/<version>/`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob import BlobServiceClient, ContainerClient, ContentSettings

from shared.adapters.azure_clients import is_transient
from shared.errors import ConfigurationError, ReferenceUnavailable
from shared.workflows.reference import (
    PROMOTIONS,
    SUPPRESSED,
    Catalogue,
    PublishedVersion,
    ReferenceFiles,
    StoresFormat,
)

CATALOGUE = "catalogue.json"
CATALOGUE_WRITE_S = 10
_JSON = ContentSettings(content_type="application/json")
_CSV = ContentSettings(content_type="text/csv; charset=utf-8")
_CONTENT = {
    CATALOGUE: _JSON,
    PROMOTIONS: _JSON,
    SUPPRESSED: _CSV,
    StoresFormat.CSV: _CSV,
    StoresFormat.GEOJSON: ContentSettings(content_type="application/geo+json"),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class CatalogueLine(msgspec.Struct, frozen=True):
    """An entry of catalogue.json; instants in RFC 3339."""

    version: str
    active_from: Instant
    published_at: Instant


@dataclass(frozen=True, slots=True)
class ReferenceContainer:
    """The port `ReferenceStore` on one blob container, which is created by the first publishing."""

    client: ContainerClient

    @classmethod
    def of(cls, service: BlobServiceClient, container: str) -> "ReferenceContainer":
        """The container of that name."""
        return cls(service.get_container_client(container))

    def read_catalogue(self, known: Catalogue | None = None) -> Catalogue:
        """The catalogue, *known* itself if nothing changed since. Raises ReferenceUnavailable."""
        changed = _condition(known.etag if known else None, MatchConditions.IfModified)
        with _faults(CATALOGUE):
            try:
                blob = self.client.download_blob(CATALOGUE, **changed)
                return Catalogue(_parse_catalogue(blob.readall()), blob.properties.etag)
            except ResourceNotFoundError:
                return Catalogue()
            except HttpResponseError as error:
                if known is not None and error.status_code == HTTPStatus.NOT_MODIFIED:  # its class differs by version
                    return known
                raise

    def replace_catalogue(self, known: Catalogue, entries: Sequence[PublishedVersion]) -> bool:
        """Write *entries* if *known* is still what is there, else False. Raises ReferenceUnavailable.

        It is tried once and for a short time: a write that landed late would make a version known after it is in force.
        """
        unchanged = _condition(known.etag, MatchConditions.IfNotModified)
        with _faults(CATALOGUE):
            try:
                self.client.upload_blob(
                    CATALOGUE,
                    _format_catalogue(entries),
                    overwrite=known.etag is not None,
                    content_settings=_CONTENT[CATALOGUE],
                    retry_total=0,
                    timeout=CATALOGUE_WRITE_S,
                    read_timeout=CATALOGUE_WRITE_S,
                    **unchanged,
                )
            except (ResourceExistsError, ResourceModifiedError):
                return False
        return True

    def load_files(self, version: str) -> ReferenceFiles:
        """The files of that version: those that lie in its folder. Raises ReferenceUnavailable."""
        folder = _path(version, "")
        paths: list[str] = []
        with _faults(folder), suppress(ResourceNotFoundError):  # there is no container: no file either
            paths = list(self.client.list_blob_names(name_starts_with=folder))
        files = {name: self._download(path) for path in paths if (name := path.removeprefix(folder)) in _CONTENT}
        try:
            return ReferenceFiles.from_names(files)
        except KeyError as missing:
            raise ReferenceUnavailable(
                f"{folder}{missing.args[0]} is in the catalogue and not in the container"
            ) from missing

    def save_files(self, version: str, files: ReferenceFiles) -> None:
        """Keep the files of that version; they are never written again. Raises ReferenceUnavailable."""
        for name, data in files.by_name.items():
            path = _path(version, name)
            with _faults(path):
                self._create_container()
                # A reader of a large file would notice if it were replaced below its hands, and there is no need to.
                with suppress(ResourceExistsError):
                    self.client.upload_blob(path, data, overwrite=False, content_settings=_CONTENT[name])

    def _download(self, path: str) -> bytes:
        with _faults(path):
            try:
                return self.client.download_blob(path).readall()
            except ResourceNotFoundError as error:
                raise ReferenceUnavailable(f"{path} is in the catalogue and not in the container") from error

    def _create_container(self) -> None:
        with suppress(ResourceExistsError):
            self.client.create_container()


def _condition(etag: str | None, condition: MatchConditions) -> dict[str, Any]:
    return {"etag": etag, "match_condition": condition} if etag else {}


def _path(version: str, name: str) -> str:
    return f"versions/{version}/{name}"


def _parse_catalogue(data: bytes) -> tuple[PublishedVersion, ...]:
    try:
        lines = msgspec.json.decode(data, type=list[CatalogueLine])
    except msgspec.DecodeError as error:
        raise ReferenceUnavailable(f"{CATALOGUE} is not what publishing wrote: {error}") from error
    return tuple(PublishedVersion(line.version, _us(line.active_from), _us(line.published_at)) for line in lines)


def _format_catalogue(entries: Sequence[PublishedVersion]) -> bytes:
    lines = [CatalogueLine(e.version, _instant(e.active_from_us), _instant(e.published_at_us)) for e in entries]
    return msgspec.json.format(msgspec.json.encode(lines), indent=2)


def _instant(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)


def _us(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)


@contextmanager
def _faults(what: str) -> Iterator[None]:
    """Say in our words what kept the storage from answering."""
    try:
        yield
    except AzureError as error:
        if is_transient(error):
            raise ReferenceUnavailable(
                f"no answer from the storage of the reference data for {what}: {error}"
            ) from error
        if isinstance(error, HttpResponseError) and error.status_code in (
            HTTPStatus.UNAUTHORIZED,
            HTTPStatus.FORBIDDEN,
        ):
            raise ConfigurationError(
                f"the storage of the reference data refuses {what} (status {error.status_code}): the app's identity "
                "needs the role Storage Blob Data Contributor there to publish, Storage Blob Data Reader to read"
            ) from error
        raise
