"""The shop's addresses."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from examples.shop import views

urlpatterns = [
    path("", views.order_list, name="orders"),
    path("orders/", views.place, name="place"),
    path("orders/<str:number>/", views.order_page, name="order"),
    path("orders/<str:number>/steps/", views.take_step, name="step"),
    path("orders/<str:number>/events/<uuid:event_id>/", views.event_page, name="event"),
    path("outbox/", views.outbox_page, name="outbox"),
    path("outbox/<uuid:row_id>/again/", views.again, name="again"),
    path("admin/", admin.site.urls),
]
