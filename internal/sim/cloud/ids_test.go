package cloud

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestAnInventoryHasTheSameIDsEveryTime(t *testing.T) {
	t.Parallel()
	text := withDisk("size: 8MiB") + "    catalogs: [{name: images, media: [{name: iso, size: 64KiB}]}]\n"
	first, again := ids(t, text), ids(t, text)
	if len(first) < 40 {
		t.Fatalf("%d ids: %q", len(first), first)
	}
	for _, id := range first {
		if !slices.Contains(again, id) {
			t.Errorf("%s has another id the second time", id)
		}
	}
}

var jsonNames = regexp.MustCompile(`"(?:name|username|id)":"[^"]*"`)

// ids lists what a cloud of an inventory has, with ids.
func ids(t *testing.T, text string) []string {
	t.Helper()
	c := start(t, parse(t, text), nil)
	ctx := within(t)
	api, err := c.login(ctx, c.sites[0])
	if err != nil {
		t.Fatal(err)
	}
	defer api.logout(ctx)
	var out []string
	for _, kind := range []string{"organization", "adminUser", "role", "adminOrgVdc", "adminOrgVdcStorageProfile", "orgVdcNetwork", "adminVApp", "adminVM", "adminDisk",
		"adminCatalog", "adminMedia", "providerVdc", "virtualCenter", "networkPool", "externalNetwork", "edgeGateway"} {
		records, err := api.query(ctx, kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			out = append(out, kind+" "+r["name"]+" "+strings.TrimPrefix(r["href"], api.base))
		}
	}
	for _, path := range []string{"1.0.0/roles", "1.0.0/globalRoles", "1.0.0/rightsBundles", "2.0.0/vdcComputePolicies", "1.0.0/orgs", "1.0.0/users"} {
		body, err := api.do(ctx, http.MethodGet, "/cloudapi/"+path+"?pageSize=128", "", "")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range jsonNames.FindAllString(string(body), -1) {
			out = append(out, path+" "+s)
		}
	}
	return out
}
