"""Every address of the web process."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from notifier.webhooks import webhook

urlpatterns = [
    # whoever opens the bare address is staff
    path("", RedirectView.as_view(pattern_name="admin:index", http_method_names=["get", "head"])),
    path(f"{settings.ADMIN_PATH}/", admin.site.urls),
    path("", include("notifier.pages.urls")),
    path("webhooks/<str:provider>", webhook),
    path("", include("notifier.api.urls")),
]
