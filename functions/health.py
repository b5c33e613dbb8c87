"""HTTP trigger: what is loaded, how far behind we are, and which settings contradict each other."""

import azure.functions as func

from shared import bootstrap

bp = func.Blueprint()


@bp.function_name("health")
@bp.route(route="health", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
def health(req: func.HttpRequest) -> func.HttpResponse:
    """Answer 200 when all is well, 503 with the problems in words when not."""
    report = bootstrap.health_check().report()
    return func.HttpResponse(report.as_json(), status_code=200 if report.is_well else 503, mimetype="application/json")
