"""Clients of Azure services: which connection leads where, and which errors may pass by themselves."""

import asyncio

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)

from shared.adapters.azure_clients import AsyncIdentity, blob_service, is_transient, table_service
from shared.errors import ConfigurationError
from shared.settings import Connection

LAPTOP = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=aw==;EndpointSuffix=core.windows.net"


def test_a_connection_string_leads_to_its_account() -> None:
    connection = Connection("LakeStorage", connection_string=LAPTOP)
    assert blob_service(connection).url == "http://a.blob.core.windows.net/"
    assert table_service(connection).url == "http://a.table.core.windows.net"


def test_an_endpoint_leads_there_with_the_apps_identity() -> None:
    blobs = blob_service(Connection("LakeStorage", endpoint="https://lake.blob.core.windows.net", client_id="c"))
    assert blobs.url == "https://lake.blob.core.windows.net/"
    assert type(blobs.credential).__name__ == "DefaultAzureCredential"
    tables = table_service(Connection("StateStorage", endpoint="https://state.table.core.windows.net"))
    assert tables.url == "https://state.table.core.windows.net"


def test_a_connection_that_is_not_set_is_named_with_what_would_set_it() -> None:
    with pytest.raises(ConfigurationError, match="LakeStorage__blobServiceUri"):
        blob_service(Connection("LakeStorage"))
    with pytest.raises(ConfigurationError, match="StateStorage__tableServiceUri"):
        table_service(Connection("StateStorage"))


def answered(status: int) -> HttpResponseError:
    error = HttpResponseError("no")
    error.status_code = status
    return error


@pytest.mark.parametrize(
    "error", [ServiceRequestError("a"), ServiceResponseError("b"), *map(answered, (408, 429, 500, 502, 503, 504))]
)
def test_no_answer_throttling_and_faults_of_the_service_are_transient(error: AzureError) -> None:
    assert is_transient(error)


@pytest.mark.parametrize("error", [AzureError("a"), *map(answered, (400, 401, 403, 404, 409, 412))])
def test_everything_else_is_not(error: AzureError) -> None:
    assert not is_transient(error)


class Badge:
    """An identity that answers at once."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def get_token(self, *scopes: str, claims: str | None, tenant_id: str | None, enable_cae: bool) -> AccessToken:
        self.asked.append((*scopes, claims, tenant_id, enable_cae))
        return AccessToken("token", 99)

    def close(self) -> None:
        self.asked.append(("closed",))


def test_an_asynchronous_client_gets_the_token_of_the_identity() -> None:
    badge = Badge()

    async def ask() -> AccessToken:
        async with AsyncIdentity(badge) as identity:
            return await identity.get_token("scope", enable_cae=True)

    assert asyncio.run(ask()).token == "token"
    assert badge.asked == [("scope", None, None, True), ("closed",)]
