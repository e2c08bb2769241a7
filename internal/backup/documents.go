package backup

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/vappvault/vappvault/internal/mark"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// documents collects everything vCD knows about the vApp. The documents are
// kept as they came, but for two cuts: our own marks, and later secrets.
func (r *run) documents(ctx context.Context) error {
	capture, err := r.VCD.Capture(ctx, r.vapp.ID)
	if err != nil {
		return err
	}
	// What is there now counts, not what was there before maintenance mode.
	r.vapp = capture.VApp
	r.point.VApp.Name, r.point.AutoNature = capture.VApp.Name, capture.VApp.AutoNature
	for name, raw := range capture.Files {
		if path.Base(name) == "metadata.xml" {
			raw, err = restorepoint.WithoutMetadata(raw, mark.MetadataPrefix)
			if err != nil {
				return fmt.Errorf("document %s: %w", name, err)
			}
		}
		r.docs[name] = raw
	}
	r.point.Absent = capture.Absent
	for _, name := range slices.Sorted(maps.Keys(capture.Absent)) {
		if why := capture.Absent[name]; withheld(name, why) {
			r.problem(restorepoint.Problem{Message: "document " + name + " was refused: " + why, Missing: true})
		}
	}
	return nil
}

// cutSecrets moves the secrets of all documents, vSphere's too, to a file of
// their own that only a restore opens.
func (r *run) cutSecrets() error {
	secrets, err := restorepoint.CutAll(r.docs)
	if err != nil || len(secrets) == 0 {
		return err
	}
	r.docs[restorepoint.SecretsPath], err = secrets.Encode()
	return err
}

// withheld tells a section of the vApp or its VMs that the server has but
// did not give (HTTP 400, 403) from one that it does not have. What they
// refer to is another matter: no restore needs it.
func withheld(name, why string) bool {
	if !strings.HasSuffix(name, ".xml") || strings.HasPrefix(name, "vcd/context/") {
		return false
	}
	return strings.HasPrefix(why, "HTTP 400") || strings.HasPrefix(why, "HTTP 403")
}

// keepConfig keeps what vSphere knows about a VM. The .vmx and .nvram are
// welcome but not needed: a host may refuse them while the VM runs.
func (r *run) keepConfig(ctx context.Context, vm *vmRun) {
	dir := "vsphere/" + restorepoint.UUID(vm.rec.ID) + "/"
	r.docs[dir+"config.xml"] = vm.config.Raw
	if len(vm.config.Layout) > 0 {
		r.docs[dir+"layout.xml"] = vm.config.Layout
	}
	base := strings.TrimSuffix(vm.config.VmPathName, ".vmx")
	for _, ext := range []string{".vmx", ".nvram"} {
		raw, err := vm.vm.File(ctx, base+ext)
		if err != nil {
			r.absent(dir+"vm"+ext, err)
			continue
		}
		r.docs[dir+"vm"+ext] = raw
	}
}

func (r *run) absent(name string, why error) {
	if r.point.Absent == nil {
		r.point.Absent = map[string]string{}
	}
	r.point.Absent[name] = why.Error()
}
