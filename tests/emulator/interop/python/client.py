"""Logs in with an ID token and reads secrets, with nothing set but a proxy and a CA bundle."""

import os

from azure.identity import ClientAssertionCredential
from azure.keyvault.secrets import SecretClient

credential = ClientAssertionCredential(
    os.environ["TENANT_ID"], os.environ["CLIENT_ID"], lambda: os.environ["ID_TOKEN"]
)
client = SecretClient(os.environ["VAULT_URL"], credential)

newest = client.get_secret("api-key")
versions = [
    properties.version
    for properties in client.list_properties_of_secret_versions("api-key", max_page_size=1)
]
assert len(versions) == 2 and newest.properties.version in versions, versions
oldest = client.get_secret("api-key", versions[0])
assert oldest.value != newest.value

print(client.get_secret("db-password").value)
