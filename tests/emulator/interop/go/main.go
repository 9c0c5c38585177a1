// Logs in with an ID token and reads secrets the way GitLab Runner does, with nothing set but a
// proxy and a CA file.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

func main() {
	assertion := func(context.Context) (string, error) { return os.Getenv("ID_TOKEN"), nil }
	credential, err := azidentity.NewClientAssertionCredential(
		os.Getenv("TENANT_ID"), os.Getenv("CLIENT_ID"), assertion, nil)
	check(err)
	client, err := azsecrets.NewClient(os.Getenv("VAULT_URL"), credential, nil)
	check(err)

	ctx := context.Background()
	var versions []string
	pages := client.NewListSecretPropertiesVersionsPager("api-key", nil)
	for pages.More() {
		page, err := pages.NextPage(ctx)
		check(err)
		for _, properties := range page.Value {
			versions = append(versions, properties.ID.Version())
		}
	}
	if len(versions) != 2 {
		log.Fatalf("two versions expected: %v", versions)
	}
	_, err = client.GetSecret(ctx, "api-key", versions[0], nil)
	check(err)

	secret, err := client.GetSecret(ctx, "db-password", "", nil)
	check(err)
	fmt.Println(*secret.Value)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
