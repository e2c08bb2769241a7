package cloud

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/beevik/etree"
)

// recorded are documents of a real vCD, by the kind of object; they lie beside
// the schemas that VAPPVAULT_VCD_API leads to.
var recorded = map[string][]string{
	"VApp": {"get_vapp.xml", "get_vapp-emptyvm.xml", "get_vapps-expired-1.xml", "get_vapps-novms-1.xml"},
	"Vm":   {"get_vm.xml"},
	"Vdc":  {"get_vdc.xml"},
	"Task": {"post_reconfigure_vm-virtual_hardware.xml"},
}

// TestDocumentsAreBuiltAsRecordedOnesAre compares what the documents of a real
// vCD are made of - elements, attributes, links by relation and media type -
// with what this one's are made of. testdata/recorded.txt lists every
// difference with its reason, and nothing else may differ.
func TestDocumentsAreBuiltAsRecordedOnesAre(t *testing.T) {
	t.Parallel()
	folder := os.Getenv("VAPPVAULT_VCD_API")
	if folder == "" {
		t.Skip("VAPPVAULT_VCD_API is not set: no recorded documents to compare with")
	}
	ours := ownParts(t)
	got := map[string]bool{}
	for kind, files := range recorded {
		theirs := map[string]bool{}
		for _, file := range files {
			doc := etree.NewDocument()
			if err := doc.ReadFromFile(filepath.Join(folder, "recorded", file)); err != nil {
				t.Fatal(err)
			}
			maps.Copy(theirs, partsOf(doc.Root()))
		}
		if len(ours[kind]) < 10 || len(theirs) < 10 {
			t.Fatalf("%s: %d parts of ours, %d recorded: something was not read", kind, len(ours[kind]), len(theirs))
		}
		for part := range theirs {
			if !ours[kind][part] {
				got["lacks "+part] = true
			}
		}
		for part := range ours[kind] {
			if !theirs[part] {
				got["has "+part] = true
			}
		}
	}
	known := knownDifferences(t)
	for _, d := range slices.Sorted(maps.Keys(got)) {
		if !slices.ContainsFunc(known, func(k *regexp.Regexp) bool { return k.MatchString(d) }) {
			t.Errorf("%s: not in testdata/recorded.txt", d)
		}
	}
	for _, k := range known {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(got)), k.MatchString) {
			t.Errorf("testdata/recorded.txt: %s: there is no such difference any more", k)
		}
	}
}

// knownDifferences reads the list: a pattern a line, in which * stands for
// anything, and beneath a heading that gives the reason.
func knownDifferences(t *testing.T) []*regexp.Regexp {
	t.Helper()
	text, err := os.ReadFile("testdata/recorded.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out []*regexp.Regexp
	reason := false
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.TrimSpace(line) == "":
		case strings.HasPrefix(line, "#"):
			reason = true
		case !reason:
			t.Errorf("testdata/recorded.txt: line %d has no reason above it", i+1)
		default:
			out = append(out, regexp.MustCompile("^"+strings.ReplaceAll(regexp.QuoteMeta(line), `\*`, ".*")+"$"))
		}
	}
	return out
}

// ownParts is what this cloud's documents are made of, by kind, from vApps and
// VMs in every state that the recorded ones have been in.
func ownParts(t *testing.T) map[string]map[string]bool {
	t.Helper()
	c := start(t, nil, nil)
	ctx := within(t)
	for vm, state := range map[string]string{"wiki01": "suspended", "web01": "off"} {
		if err := c.Power(ctx, vm, state); err != nil && state != "suspended" {
			t.Fatal(err)
		}
	}
	api, err := c.login(ctx, c.sites[0])
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]bool{}
	take := func(text []byte) {
		doc := etree.NewDocument()
		if err := doc.ReadFromBytes(text); err != nil {
			t.Fatal(err)
		}
		kind := doc.Root().Tag
		if out[kind] == nil {
			out[kind] = map[string]bool{}
		}
		maps.Copy(out[kind], partsOf(doc.Root()))
	}
	kinds := regexp.MustCompile(`/api/(vApp/vapp-|vApp/vm-|vdc/|task/)` + uuids.String() + `$`)
	for href, text := range walk(ctx, t, c) {
		if kinds.MatchString(href) {
			take([]byte(text))
		}
	}
	// A snapshot, and the task that makes it.
	vms, err := c.VMs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(vms, func(v RunningVM) bool { return strings.HasSuffix(v.Path, "/wiki01") })
	task, err := api.do(ctx, http.MethodPost, vms[i].Href+"/action/createSnapshot", "application/vnd.vmware.vcloud.createSnapshotParams+xml",
		`<CreateSnapshotParams xmlns="http://www.vmware.com/vcloud/v1.5" name="s" memory="false" quiesce="false"/>`)
	if err != nil {
		t.Fatal(err)
	}
	take(task)
	if err := c.Director().WaitTasks(ctx); err != nil {
		t.Fatal(err)
	}
	vm, err := api.do(ctx, http.MethodGet, vms[i].Href, "", "")
	if err != nil {
		t.Fatal(err)
	}
	take(vm)
	up := regexp.MustCompile(`rel="up" href="([^"]*)"`).FindSubmatch(vm)
	vapp, err := api.do(ctx, http.MethodGet, string(up[1]), "", "")
	if err != nil {
		t.Fatal(err)
	}
	take(vapp)
	return out
}

// partsOf lists the elements, attributes and links of a document, each with
// where it is.
func partsOf(root *etree.Element) map[string]bool {
	out := map[string]bool{}
	var visit func(e *etree.Element, at string)
	visit = func(e *etree.Element, at string) {
		path := strings.TrimPrefix(at+"/"+e.Tag, "/")
		if e.Tag == "Link" {
			out[fmt.Sprintf("%s %s %s", path, e.SelectAttrValue("rel", ""), e.SelectAttrValue("type", ""))] = true
			return
		}
		out[path] = true
		for _, a := range e.Attr {
			if a.Space != "xmlns" && a.Key != "xmlns" {
				out[path+"@"+a.Key] = true
			}
		}
		for _, child := range e.ChildElements() {
			visit(child, path)
		}
	}
	visit(root, "")
	return out
}
