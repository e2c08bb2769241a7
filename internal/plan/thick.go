package plan

import (
	"slices"

	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/vsphere"
	"github.com/vappvault/vappvault/internal/wording"
)

// thick lists the disks of a VM that were not thin-provisioned, by device key.
func thick(docs document.Set, vm *restorepoint.VM) map[int32]bool {
	config, err := vsphere.ParseConfig(docs["vsphere/"+restorepoint.UUID(vm.ID)+"/config.xml"])
	if err != nil {
		return nil // rebuilding says so
	}
	out := map[int32]bool{}
	for _, d := range config.Disks {
		out[d.Key] = d.Kind == vsphere.KindFlat && !d.Thin && d.ChainDepth == 0
	}
	return out
}

// roomWanted is what a disk takes: its data, or all of its capacity where it
// was thick and a datastore has so much room. A thick disk that finds none
// becomes thin rather than stays lost.
func (p *Plan) roomWanted(stores []vsphere.DatastoreInfo, vm *VM, d restorepoint.Disk, wasThick bool) int64 {
	if !wasThick {
		return d.Content.DataBytes
	}
	fits := func(s vsphere.DatastoreInfo) bool { return s.Free-p.taken[s.Ref] >= d.Content.Size }
	if !slices.ContainsFunc(stores, fits) {
		p.conflict(KindDatastore, "vm "+vm.Name+" disk "+d.Label, "make it thin",
			"was thick, and no datastore has room for its %s", wording.Size(d.Content.Size))
		return d.Content.DataBytes
	}
	vm.Thick = append(vm.Thick, d.Key)
	return d.Content.Size
}
