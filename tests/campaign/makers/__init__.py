"""Everything that breaks something. A new one is a class in one of these modules, with `@maker`."""

from campaign.makers import database, files, network, servers, service
from campaign.makers.base import MAKERS, Hit, Maker, Scene

__all__ = ["MAKERS", "Hit", "Maker", "Scene", "database", "files", "network", "servers", "service"]
