from django.apps import AppConfig


class PreferencesConfig(AppConfig):
    name = "preferences"
    label = "preferences"
    verbose_name = "People"
