"""Routes of an endpoint's server."""

from fastapi.responses import JSONResponse

from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal
from towpath.platform.http import new_router
from towpath.transfer.api.answers import endpoints as answers
from towpath.transfer.api.documents import JsonObject
from towpath.transfer.api.endpoints import endpoint_documents
from towpath.transfer.api.service import (
    PREFIX,
    Caller,
    Service,
    TransferService,
    parse_id,
    visible_endpoint,
    who,
)

router = new_router(f"{PREFIX}/endpoint/{{endpoint_id}}")


@router.get("/server_list", response_model=answers.ServerList)
async def list_servers(endpoint_id: str, caller: Caller, service: Service) -> JSONResponse:
    """The one GridFTP server of an endpoint."""
    servers = await _servers(endpoint_id, caller, service)
    return JSONResponse(
        {
            "DATA_TYPE": "endpoint_server_list",
            "endpoint": endpoint_id,
            "length": len(servers),
            "DATA": servers,
        }
    )


@router.get("/server/{server_id}", response_model=answers.Server)
async def show_server(
    endpoint_id: str, server_id: str, caller: Caller, service: Service
) -> JSONResponse:
    """A server by its number, which is 0."""
    for server in await _servers(endpoint_id, caller, service):
        if str(server["id"]) == server_id:
            return JSONResponse(server)
    raise ApiError.not_found(
        f"Endpoint '{endpoint_id}' has no server '{server_id[:40]}'", code="ServerNotFound"
    )


async def _servers(
    endpoint_id: str, caller: Principal, service: TransferService
) -> list[JsonObject]:
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    async with service.database.connection() as conn:
        seen = await visible_endpoint(conn, wanted, who(caller), service.now())
        (document,) = await endpoint_documents(conn, [seen], service.origin)
    servers: list[JsonObject] = document["DATA"]
    return servers
