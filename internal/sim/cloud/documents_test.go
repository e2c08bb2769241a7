package cloud

import (
	"context"
	"encoding/xml"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEveryReferenceLeadsToADocument reads every document that a provider can
// reach from the entry points. Whether they are valid is checked once all
// tests are done.
func TestEveryReferenceLeadsToADocument(t *testing.T) {
	t.Parallel()
	documents := walk(within(t), t, start(t, nil, nil))
	if len(documents) < 300 {
		t.Errorf("only %d documents: the walk went wrong", len(documents))
	}
	t.Logf("%d documents", len(documents))
}

var uuids = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// entrances are where a walk begins.
var entrances = []string{
	"/api/org", "/api/admin", "/api/admin/extension", "/api/query",
	"/api/query?type=organization", "/api/query?type=adminOrgVdc", "/api/query?type=adminVApp", "/api/query?type=adminVM",
	"/api/query?type=adminUser", "/api/query?type=orgVdcNetwork", "/api/query?type=adminTask", "/api/query?type=adminOrgVdcStorageProfile",
	"/api/query?type=virtualCenter",
}

// unmodelled is what documents name and the director does not serve: resource
// pools, which the API reference lists in relations only, and historic metrics,
// which an installation without a metrics database refuses.
var unmodelled = regexp.MustCompile(`^/api/admin/extension/resourcePool/|/metrics/historic$`)

// walk reads all XML documents, by address.
func walk(ctx context.Context, t *testing.T, c *Cloud) map[string]string {
	t.Helper()
	api, err := c.login(ctx, c.sites[0])
	if err != nil {
		t.Fatal(err)
	}
	documents := map[string]string{}
	var queue []string
	from := map[string]string{}
	add := func(href, at string) {
		if _, known := from[href]; !known {
			from[href] = at
			queue = append(queue, href)
		}
	}
	for _, path := range entrances {
		add(api.base+path, "the start")
	}
	for len(queue) > 0 {
		href := queue[0]
		queue = queue[1:]
		text, err := api.do(ctx, "GET", href, "", "")
		if err != nil && unmodelled.MatchString(strings.TrimPrefix(href, api.base)) {
			continue
		}
		if err != nil {
			t.Errorf("%v (found in %s)", err, from[href])
			continue
		}
		documents[href] = string(text)
		for _, reference := range references(t, href, text) {
			if strings.HasPrefix(reference, api.base+"/api/") {
				add(reference, href)
			}
		}
	}
	return documents
}

// readable relations lead to documents; the others to things to do.
var readableRelations = []string{"", "down", "up", "self", "alternate", "edit", "nextPage", "collection", "controlAccess", "ova", "storageProfile"}

// references are the addresses in a document that one can read.
func references(t *testing.T, href string, text []byte) []string {
	t.Helper()
	var found []string
	decoder := xml.NewDecoder(strings.NewReader(string(text)))
	for {
		token, err := decoder.Token()
		if token == nil {
			if err != nil && err.Error() != "EOF" {
				t.Errorf("%s: %v", href, err)
			}
			return found
		}
		element, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		attributes := map[string]string{}
		for _, a := range element.Attr {
			attributes[a.Name.Local] = a.Value
		}
		target := attributes["href"]
		// What is updated by a POST cannot be read there.
		if target == "" || strings.Contains(target, "/action/") || strings.Contains(attributes["type"], ".update") || !slices.Contains(readableRelations, attributes["rel"]) {
			continue
		}
		found = append(found, target)
	}
}
