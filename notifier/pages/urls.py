"""The addresses of the pages for customers."""

from django.urls import path

from notifier.pages.preferences import PreferencesView
from notifier.pages.unsubscribe import UnsubscribeView

urlpatterns = [
    path("preferences/<str:token>", PreferencesView.as_view(), name="preferences-page"),
    path("unsubscribe/<str:token>", UnsubscribeView.as_view(), name="unsubscribe-page"),
]
