"""Every address of the API."""

from django.urls import path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from notifier.api import (
    alerts,
    dead_letters,
    events,
    explain,
    health,
    inbox,
    pauses,
    preferences,
    reconcile,
    suppressions,
    trigger,
    users,
)
from notifier.metrics import metrics

urlpatterns = [
    path("notifications/trigger", trigger.TriggerView.as_view()),
    path("notifications/trigger/bulk", trigger.BulkTriggerView.as_view()),
    path("notifications/explain", explain.ExplainView.as_view()),
    path("notifications/reconcile", reconcile.ReconcileView.as_view()),
    path("notifications/reconcile/record", reconcile.RecordView.as_view()),
    path("notifications/events", events.EventsView.as_view()),
    path("notifications/events/search", events.EventSearchView.as_view()),
    path("notifications/events/<uuid:event_id>", events.EventView.as_view()),
    path("notifications/users/bulk", users.BulkUsersView.as_view()),
    path("notifications/users/<uuid:user_id>", users.UserView.as_view()),
    path("notifications/users/<uuid:user_id>/export", users.ExportView.as_view()),
    path("notifications/users/<uuid:user_id>/token", users.TokenView.as_view()),
    # a token may hold slashes: web push's is an address
    path("notifications/users/<uuid:user_id>/devices/<path:token>", users.DeviceView.as_view()),
    path("notifications/preferences", preferences.PreferencesView.as_view()),
    path("notifications/preferences/quiet-hours", preferences.QuietHoursView.as_view()),
    path("notifications/inbox", inbox.InboxView.as_view()),
    path("notifications/inbox/<uuid:message_id>/read", inbox.InboxReadView.as_view()),
    path("notifications/suppressed-addresses", suppressions.SuppressedAddressesView.as_view()),
    path("notifications/suppressed-addresses/search", suppressions.SearchView.as_view()),
    path("notifications/suppressed-addresses/<int:suppression_id>", suppressions.SuppressedAddressView.as_view()),
    path("notifications/alerts", alerts.AlertsView.as_view()),
    path("notifications/alerts/<uuid:alert_id>/acknowledge", alerts.AcknowledgeView.as_view()),
    path("notifications/pauses", pauses.PausesView.as_view()),
    path("notifications/pauses/<str:kind>/<str:name>", pauses.PauseView.as_view()),
    path("notifications/dead-letters", dead_letters.DeadLettersView.as_view()),
    path("notifications/dead-letters/replay", dead_letters.ReplayView.as_view()),
    path("health/live", health.live),
    path("health/ready", health.ready),
    path("metrics", metrics),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path(
        "api/docs",
        SpectacularSwaggerSplitView.as_view(url_name="schema", template_name="notifier/api_docs.html"),
        name="docs",
    ),
]
