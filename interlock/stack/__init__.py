"""The whole stack on one machine: home, servers, services, supervision."""
