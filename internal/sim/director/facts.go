package director

import (
	"context"
	"strings"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// The facts are what vCenter says about a VM.
type facts struct {
	read          time.Time
	name          string
	config        types.VirtualMachineConfigInfo
	power         types.VirtualMachinePowerState
	host          types.ManagedObjectReference
	home          types.ManagedObjectReference // datastore of the .vmx
	homeName      string
	parent        *types.ManagedObjectReference
	pool          *types.ManagedObjectReference
	snapshot      *types.VirtualMachineSnapshotTree // the current one
	snapshots     int
	storeName     map[types.ManagedObjectReference]string
	chain         int
	committed     int64 // bytes
	diskStores    map[int32]types.ManagedObjectReference
	snapshotRoots []types.VirtualMachineSnapshotTree
	question      *types.VirtualMachineQuestionInfo // that it waits for an answer to
}

// newFacts is nil for a VM without configuration: it is being made or is
// inaccessible.
func newFacts(m *mo.VirtualMachine) *facts {
	if m.Config == nil {
		return nil
	}
	f := &facts{
		read: time.Now(), name: m.Name, config: *m.Config, power: m.Runtime.PowerState, parent: m.Parent, pool: m.ResourcePool,
		diskStores: map[int32]types.ManagedObjectReference{}, storeName: map[types.ManagedObjectReference]string{},
	}
	f.question = m.Runtime.Question
	if m.Runtime.Host != nil {
		f.host = *m.Runtime.Host
	}
	if m.Snapshot != nil {
		f.snapshotRoots = m.Snapshot.RootSnapshotList
		f.snapshots = count(m.Snapshot.RootSnapshotList)
		if m.Snapshot.CurrentSnapshot != nil {
			f.snapshot = findSnapshot(m.Snapshot.RootSnapshotList, *m.Snapshot.CurrentSnapshot)
		}
	}
	if m.LayoutEx != nil {
		for _, file := range m.LayoutEx.File {
			f.committed += file.Size
		}
	}
	for _, d := range f.disks() {
		ref, chain := backing(d)
		f.diskStores[d.Key] = ref
		f.chain = max(f.chain, chain)
	}
	return f
}

// storeNames resolves the datastore that the VM lives on and those of its disks.
func (f *facts) storeNames(ctx context.Context, vc *vcenter) {
	var p object.DatastorePath
	if p.FromString(f.config.Files.VmPathName) {
		f.homeName = p.Datastore
		f.home, _ = vc.datastore(ctx, p.Datastore)
	}
	for key, ref := range f.diskStores {
		if ref.Value != "" {
			continue
		}
		// Some backings leave their reference out; the path has the name.
		for _, d := range f.disks() {
			if b, ok := d.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok && d.Key == key &&
				p.FromString(b.GetVirtualDeviceFileBackingInfo().FileName) {
				f.diskStores[key], _ = vc.datastore(ctx, p.Datastore)
			}
		}
	}
	for _, ref := range f.diskStores {
		f.storeName[ref] = vc.nameOf(ref)
	}
}

func count(trees []types.VirtualMachineSnapshotTree) int {
	n := len(trees)
	for _, t := range trees {
		n += count(t.ChildSnapshotList)
	}
	return n
}

func findSnapshot(trees []types.VirtualMachineSnapshotTree, ref types.ManagedObjectReference) *types.VirtualMachineSnapshotTree {
	for i := range trees {
		if trees[i].Snapshot == ref {
			return &trees[i]
		}
		if t := findSnapshot(trees[i].ChildSnapshotList, ref); t != nil {
			return t
		}
	}
	return nil
}

// devices are the VM's, in vCenter's order.
func (f *facts) devices() object.VirtualDeviceList { return f.config.Hardware.Device }

func (f *facts) disks() []*types.VirtualDisk {
	var out []*types.VirtualDisk
	for _, d := range f.devices() {
		if disk, ok := d.(*types.VirtualDisk); ok {
			out = append(out, disk)
		}
	}
	return out
}

// cards are the VM's network devices in the order of their keys.
func (f *facts) cards() []types.BaseVirtualEthernetCard {
	var out []types.BaseVirtualEthernetCard
	for _, d := range f.devices() {
		if c, ok := d.(types.BaseVirtualEthernetCard); ok {
			out = append(out, c)
		}
	}
	sortBy(out, func(a, b types.BaseVirtualEthernetCard) bool {
		return a.GetVirtualEthernetCard().Key < b.GetVirtualEthernetCard().Key
	})
	return out
}

// backing is the datastore of a disk and the number of files in its chain.
func backing(d *types.VirtualDisk) (types.ManagedObjectReference, int) {
	var ref types.ManagedObjectReference
	chain := 1
	b, ok := d.Backing.(types.BaseVirtualDeviceFileBackingInfo)
	if !ok {
		return ref, chain
	}
	if ds := b.GetVirtualDeviceFileBackingInfo().Datastore; ds != nil {
		ref = *ds
	}
	switch t := d.Backing.(type) {
	case *types.VirtualDiskFlatVer2BackingInfo:
		for p := t.Parent; p != nil; p = p.Parent {
			chain++
		}
	case *types.VirtualDiskSeSparseBackingInfo:
		for p := t.Parent; p != nil; p = p.Parent {
			chain++
		}
	}
	return ref, chain
}

// capacity is a disk's size in bytes.
func capacity(d *types.VirtualDisk) int64 {
	if d.CapacityInBytes != 0 {
		return d.CapacityInBytes
	}
	return d.CapacityInKB << 10
}

// adapter is vCD's name for the type of a network device.
func adapter(c types.BaseVirtualEthernetCard) string {
	switch c.(type) {
	case *types.VirtualVmxnet3:
		return "VMXNET3"
	case *types.VirtualVmxnet2:
		return "VMXNET2"
	case *types.VirtualVmxnet:
		return "VMXNET"
	case *types.VirtualE1000e:
		return "E1000E"
	case *types.VirtualE1000:
		return "E1000"
	case *types.VirtualPCNet32:
		return "PCNet32"
	case *types.VirtualSriovEthernetCard:
		return "SRIOVETHERNETCARD"
	}
	return "VMXNET3"
}

// newCard is a network device of the type that vCD calls so.
func newCard(adapter string) types.BaseVirtualEthernetCard {
	switch strings.ToUpper(adapter) {
	case "E1000":
		return &types.VirtualE1000{}
	case "E1000E":
		return &types.VirtualE1000e{}
	case "PCNET32":
		return &types.VirtualPCNet32{}
	case "VMXNET2":
		return &types.VirtualVmxnet2{}
	case "VMXNET":
		return &types.VirtualVmxnet{}
	case "SRIOVETHERNETCARD":
		return &types.VirtualSriovEthernetCard{}
	}
	return &types.VirtualVmxnet3{}
}
