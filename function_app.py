"""The function app: what it serves, one line a blueprint."""

import azure.functions as func

from functions import analytics, dashboard, fast_decode, health, lakehouse, proximity, simulator

fast_decode.install()

app = func.FunctionApp()
app.register_functions(proximity.bp)
app.register_functions(lakehouse.bp)
app.register_functions(analytics.bp)
app.register_functions(dashboard.bp)
app.register_functions(simulator.bp)
app.register_functions(health.bp)
