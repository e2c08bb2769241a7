package restore

import (
	"context"
	"maps"
	"strings"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// borrowed puts the documents of VMs that come from earlier points in the
// place of those that the point has of them.
func (d *Deps) borrowed(ctx context.Context, point *restorepoint.Point, docs document.Set) error {
	read := map[string]document.Set{}
	for _, vm := range point.VMs {
		if vm.From == "" {
			continue
		}
		if read[vm.From] == nil {
			from, err := d.documentsOf(ctx, vm.From)
			if err != nil {
				return err
			}
			read[vm.From] = from
		}
		of := func(path string) bool {
			uuid := restorepoint.UUID(vm.ID)
			return strings.HasPrefix(path, "vcd/vms/"+uuid+"/") || strings.HasPrefix(path, "vsphere/"+uuid+"/")
		}
		maps.DeleteFunc(docs, func(path string, _ []byte) bool { return of(path) })
		for path, raw := range read[vm.From] {
			if of(path) {
				docs[path] = raw
			}
		}
	}
	return nil
}
