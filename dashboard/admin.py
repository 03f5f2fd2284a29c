"""What the Django admin does not show: accounts and groups. People have pages of their own, with rules of their own."""

from django.contrib import admin
from django.contrib.auth.models import Group, User

admin.site.unregister([User, Group])
