package cloud

import (
	"context"
	"encoding/xml"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestEveryDocumentIsValid reads every document that a provider can reach
// from the entry points by following references, and has each checked
// against VMware's schemas by the program that VAPPVAULT_VCD_API leads to.
func TestEveryDocumentIsValid(t *testing.T) {
	folder := os.Getenv("VAPPVAULT_VCD_API")
	if folder == "" {
		t.Skip("VAPPVAULT_VCD_API is not set: no schemas to check against")
	}
	c := start(t, nil, nil)
	documents := walk(within(t), t, c)
	dir := t.TempDir()
	names := map[string]string{} // of the reference, by file
	seen := map[string]bool{}
	for _, href := range slices.Sorted(maps.Keys(documents)) {
		text := documents[href]
		shape := uuids.ReplaceAllString(text, "ID")
		if seen[shape] {
			continue
		}
		seen[shape] = true
		file := filepath.Join(dir, fmt.Sprintf("%03d.xml", len(names)))
		names[file] = href
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d documents, %d of them distinct", len(documents), len(names))
	if len(names) < 50 {
		t.Errorf("only %d documents: the walk went wrong", len(names))
	}
	validate(t, filepath.Join(folder, "validate"), names)
}

var uuids = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// validate runs the program over files, two at a time.
func validate(t *testing.T, program string, names map[string]string) {
	t.Helper()
	files := make(chan string)
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			for file := range files {
				if out, err := exec.Command(program, file).CombinedOutput(); err != nil {
					t.Errorf("%s: %v\n%s", names[file], err, out)
				}
			}
		})
	}
	for file := range names {
		files <- file
	}
	close(files)
	group.Wait()
}

// entrances are where a walk begins.
var entrances = []string{
	"/api/org", "/api/admin", "/api/admin/extension", "/api/query",
	"/api/query?type=organization", "/api/query?type=adminOrgVdc", "/api/query?type=adminVApp", "/api/query?type=adminVM",
	"/api/query?type=adminUser", "/api/query?type=orgVdcNetwork", "/api/query?type=adminTask", "/api/query?type=adminOrgVdcStorageProfile",
	"/api/query?type=virtualCenter",
}

// unmodelled is what documents name and the director does not serve: external
// networks (/api/admin/network), and what it says it refuses to be.
var unmodelled = regexp.MustCompile(`^/api/admin/(edgeGateway|providervdc|extension/datastore|network)/|^/api/vdc/[^/]+/hwv/|` +
	`/settings/(vAppTemplateLeaseSettings|passwordPolicy|operationLimitsSettings)$`)

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
		if target == "" || strings.Contains(target, "/action/") || !slices.Contains(readableRelations, attributes["rel"]) {
			continue
		}
		found = append(found, target)
	}
}
