package house

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/vappvault/vappvault/"

// layers are the shipped packages from the top down. A package imports only
// what lies in a layer beneath its own, so there can be no circle. A new
// package gets its place here.
var layers = [][]string{
	{"cmd/vappvault"},
	{"internal/cli"},
	{"internal/app"},
	{"internal/reconcile"},
	{"internal/backup", "internal/restore", "internal/diff"},
	{"internal/maintenance", "internal/plan"},
	{"internal/selection", "internal/repository", "internal/transport/nfc", "internal/transport/datastore", "internal/transport/vddk", "internal/transport/transporttest"},
	{"internal/vcd", "internal/vsphere", "internal/vmdk", "internal/journal", "internal/config"},
	{"internal/transport"},
	{"internal/mark", "internal/document", "internal/nbd"},
	{"internal/process", "internal/progress", "internal/restorepoint", "internal/extent", "internal/limit", "internal/wording"},
}

// simLayers are the packages of the simulated cloud, from the top down.
var simLayers = [][]string{
	{"cmd/vcdsim", "vcdsim"},
	{"internal/sim/cloud/cli"},
	{"internal/sim/cloud"},
	{"internal/sim/record"},
	{"internal/sim/director", "internal/sim/vcenter"},
	{"internal/sim/fault", "internal/sim/graph", "internal/sim/ovf", "internal/sim/vdisk"},
	{"internal/sim/wellformed"},
}

// reserved are foreign packages that only some of ours may import.
var reserved = map[string][]string{
	"github.com/kopia/kopia/": {"internal/repository"},
	"github.com/vmware/govmomi": {
		"internal/vsphere", "internal/transport/nfc", "internal/transport/datastore",
		"internal/sim/vcenter", "internal/sim/director", "internal/sim/cloud",
	},
}

// A pkg is what go list says of a package.
type pkg struct {
	ImportPath  string
	Name        string
	Doc         string
	Imports     []string
	TestImports []string
	GoFiles     []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Name,Doc,Imports,TestImports,GoFiles", "./...")
	cmd.Dir = "../.."
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, stderr.String())
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return pkgs
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		pkgs = append(pkgs, p)
	}
}

// depth returns how deep a package lies, 0 for the top layer.
func depth(layers [][]string, path string) (int, bool) {
	for i, layer := range layers {
		if slices.Contains(layer, path) {
			return i, true
		}
	}
	return 0, false
}

func isSim(path string) bool {
	_, ok := depth(simLayers, path)
	return ok || strings.HasPrefix(path, "internal/sim/")
}

func TestImportsRunDownwards(t *testing.T) {
	for _, p := range list(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		if strings.HasPrefix(path, "test/") || path == "bench" || strings.HasPrefix(path, "demo/") {
			continue // these see everything
		}
		own := layers
		if isSim(path) {
			own = simLayers
		}
		above, ok := depth(own, path)
		if !ok {
			t.Errorf("%s: has no place in the house; give it one in test/house", path)
			continue
		}
		for _, imported := range p.Imports {
			target, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			switch below, ok := depth(own, target); {
			case isSim(path) != isSim(target):
				t.Errorf("%s: imports %s: the simulated cloud and the product share no code", path, target)
			case ok && below <= above:
				t.Errorf("%s: imports %s, which does not lie beneath it", path, target)
			}
		}
		// An external test (package x_test) may use the simulators: it sees
		// what users of the package see.
		for _, imported := range p.TestImports {
			if target, ours := strings.CutPrefix(imported, module); ours && isSim(path) != isSim(target) {
				t.Errorf("%s: a test inside the package imports %s; only external tests may", path, target)
			}
		}
	}
}

func TestReservedImports(t *testing.T) {
	for _, p := range list(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		for _, imported := range p.Imports {
			for foreign, allowed := range reserved {
				if strings.HasPrefix(imported, foreign) && !slices.Contains(allowed, path) {
					t.Errorf("%s: imports %s, which is for %s", path, imported, strings.Join(allowed, ", "))
				}
			}
		}
	}
}

func TestPackagesAreDocumented(t *testing.T) {
	for _, p := range list(t) {
		if len(p.GoFiles) == 0 {
			continue
		}
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = "Command "
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: its documentation does not begin with %q", p.ImportPath, want)
		}
	}
}
