package cloud

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestAccountsOfTheInventory logs in with the tokens that an inventory names.
func TestAccountsOfTheInventory(t *testing.T) {
	t.Parallel()
	text := strings.NewReplacer(
		"- id: lab", "- id: lab\n  admin: {name: root, password: secret, apiToken: provider-token}\n  apiVersions: ['37.2', '39.0']",
		"users: [{name: wile}]", "users: [{name: wile, role: Operator, apiToken: tenant-token}, {name: gone, apiToken: no-token, disabled: true}]\n"+
			"    roles: [{name: Operator, rights: ['vApp: Power Operations']}]").Replace(small)
	c := start(t, parse(t, text), nil)
	for _, tc := range []struct {
		path, token string
		want        int
	}{
		{"/oauth/provider/token", "provider-token", 200},
		{"/oauth/tenant/acme/token", "tenant-token", 200},
		{"/oauth/tenant/acme/token", "provider-token", 400},
		{"/oauth/tenant/acme/token", "no-token", 400},
	} {
		status, access := grant(t, c, tc.path, tc.token)
		if status != tc.want {
			t.Errorf("%s with %s: got %d, want %d", tc.path, tc.token, status, tc.want)
		}
		if status == http.StatusOK && access == "" {
			t.Errorf("%s: no access token", tc.path)
		}
	}
}

// grant exchanges an API token.
func grant(t *testing.T, c *Cloud, path, token string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{RootCAs: c.ca.pool(), MinVersion: tls.VersionTLS12}}}
	response, err := client.PostForm(c.Director().URL().String()+path, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Access string `json:"access_token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, answer.Access
}
