"""The app's functions for those who look at gold, without the ones that need event hubs."""

import azure.functions as func

from functions import analytics, dashboard

app = func.FunctionApp()
app.register_functions(analytics.bp)
app.register_functions(dashboard.bp)
