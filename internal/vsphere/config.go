package vsphere

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

// A VMConfig is what vCenter knows about one VM.
type VMConfig struct {
	Raw    []byte // VirtualMachineConfigInfo as XML; SpecFromConfig reads it
	Layout []byte // VirtualMachineFileLayoutEx as XML; empty if not known

	Name            string // as vCenter escapes it: %2f for a slash
	UUID            string // SMBIOS
	InstanceUUID    string
	MoRef           string
	HardwareVersion string // vmx-19
	GuestID         string
	PowerState      string // poweredOn, poweredOff, suspended
	ChangeTracking  bool
	VmPathName      string // "[datastore1] web01/web01.vmx"
	Datacenter      string // inventory path, for /folder?dcPath=
	Host            string // managed object references
	ResourcePool    string
	Folder          string
	NumCPU          int32
	MemoryMB        int64
	Disks           []Disk
	NICs            []NIC
	Snapshots       []SnapshotInfo

	ConsolidationNeeded bool
	DisabledMethods     []string
	ExtraConfig         map[string]string
	ManagedBy           string // key of the extension that manages it, com.vmware.vcloud…

	nvram string // from the layout
}

// Disk returns the disk with the given device key.
func (c *VMConfig) Disk(key int32) (Disk, bool) { return findDisk(c.Disks, key) }

func findDisk(list []Disk, key int32) (Disk, bool) {
	i := slices.IndexFunc(list, func(d Disk) bool { return d.Key == key })
	if i < 0 {
		return Disk{}, false
	}
	return list[i], true
}

// NVRAM returns the datastore path of the VM's .nvram file, if it has one.
func (c *VMConfig) NVRAM() (string, bool) {
	if c.nvram != "" {
		return c.nvram, true
	}
	name := c.ExtraConfig["nvram"]
	if name == "" {
		return "", false
	}
	if strings.HasPrefix(name, "[") {
		return name, true
	}
	ds, file, ok := splitPath(c.VmPathName)
	if !ok {
		return "", false
	}
	return "[" + ds + "] " + path.Join(path.Dir(file), name), true
}

// A SnapshotInfo is one snapshot in a VM's tree.
type SnapshotInfo struct {
	Ref         string // managed object reference
	Name        string
	Description string
	Created     time.Time
	Depth       int // 0 for a root
	Quiesced    bool
	Children    int // direct children
	Current     bool
}

// Config reads the VM's configuration. ErrNotFound: there is no such VM.
func (v *VM) Config(ctx context.Context) (*VMConfig, error) {
	var vm mo.VirtualMachine
	err := v.c.get(ctx, v.ref, &vm, "name", "config", "layoutEx", "runtime.powerState", "runtime.host",
		"runtime.consolidationNeeded", "snapshot", "resourcePool", "parent", "disabledMethod")
	if err != nil {
		return nil, v.fail("configuration", err)
	}
	if vm.Config == nil {
		return nil, v.fail("configuration", errors.New("vCenter does not have it; is the VM inaccessible?"))
	}
	c, err := v.config(ctx, &vm)
	if err != nil {
		return nil, v.fail("configuration", err)
	}
	return c, nil
}

func (v *VM) config(ctx context.Context, vm *mo.VirtualMachine) (*VMConfig, error) {
	info := vm.Config
	c := &VMConfig{
		Name: vm.Name, UUID: info.Uuid, InstanceUUID: info.InstanceUuid, MoRef: v.ref.Value,
		HardwareVersion: info.Version, GuestID: info.GuestId, PowerState: string(vm.Runtime.PowerState),
		ChangeTracking: info.ChangeTrackingEnabled != nil && *info.ChangeTrackingEnabled,
		VmPathName:     info.Files.VmPathName,
		Host:           value(vm.Runtime.Host), ResourcePool: value(vm.ResourcePool), Folder: value(vm.Parent),
		NumCPU: info.Hardware.NumCPU, MemoryMB: int64(info.Hardware.MemoryMB),
		Disks: disks(info.Hardware.Device), NICs: nics(info.Hardware.Device),
		Snapshots:           snapshots(vm.Snapshot),
		ConsolidationNeeded: vm.Runtime.ConsolidationNeeded,
		DisabledMethods:     vm.DisabledMethod,
		ExtraConfig:         map[string]string{},
	}
	c.fillMarks(info)
	var err error
	if c.Raw, err = encode("VirtualMachineConfigInfo", info); err != nil {
		return nil, err
	}
	if vm.LayoutEx != nil {
		for _, f := range vm.LayoutEx.File {
			if f.Type == string(types.VirtualMachineFileLayoutExFileTypeNvram) {
				c.nvram = f.Name
			}
		}
		if c.Layout, err = encode("VirtualMachineFileLayoutEx", vm.LayoutEx); err != nil {
			return nil, err
		}
	}
	if c.Datacenter, err = v.c.datacenterPath(ctx, v.ref); err != nil {
		return nil, err
	}
	return c, v.c.nameDatastores(ctx, c.Disks)
}

// fillMarks fills in by what a VM is recognised.
func (c *VMConfig) fillMarks(info *types.VirtualMachineConfigInfo) {
	for _, o := range info.ExtraConfig {
		kv := o.GetOptionValue()
		c.ExtraConfig[kv.Key] = fmt.Sprint(kv.Value)
	}
	if info.ManagedBy != nil {
		c.ManagedBy = info.ManagedBy.ExtensionKey
	}
}

// OfCloudDirector tells whether the VM bears the marks of a Cloud Director
// that manages it.
func (c *VMConfig) OfCloudDirector() bool {
	return strings.HasPrefix(c.ManagedBy, "com.vmware.vcloud") || c.ExtraConfig["cloud.uuid"] != ""
}

func value(r *types.ManagedObjectReference) string {
	if r == nil {
		return ""
	}
	return r.Value
}

// encode writes a value as XML with the types of its parts (xsi:type), so
// that decodeConfig and every other vSphere client can read it back.
func encode(name string, v any) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	e := xml.NewEncoder(&b)
	e.Indent("", " ")
	if err := e.EncodeElement(v, xml.StartElement{Name: xml.Name{Space: "urn:vim25", Local: name}}); err != nil {
		return nil, fmt.Errorf("encode %s: %w", name, err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// decodeConfig reads what encode wrote of a VirtualMachineConfigInfo. Govmomi's
// decoder panics on types in places where they do not belong; in a damaged
// document that is one more error.
func decodeConfig(raw []byte) (_ *types.VirtualMachineConfigInfo, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decode VirtualMachineConfigInfo: %v", p)
		}
	}()
	d := xml.NewDecoder(bytes.NewReader(raw))
	d.TypeFunc = types.TypeFunc()
	var info types.VirtualMachineConfigInfo
	for {
		token, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("decode VirtualMachineConfigInfo: %w", err)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if start.Name.Local != "VirtualMachineConfigInfo" {
			return nil, fmt.Errorf("decode VirtualMachineConfigInfo: found %s instead", start.Name.Local)
		}
		if err := d.DecodeElement(&info, &start); err != nil {
			return nil, fmt.Errorf("decode VirtualMachineConfigInfo: %w", err)
		}
		return &info, checkDecoded(&info)
	}
}

// checkDecoded finds what the XML named but this program has no type for.
func checkDecoded(info *types.VirtualMachineConfigInfo) error {
	for i, d := range info.Hardware.Device {
		if d == nil {
			return fmt.Errorf("decode VirtualMachineConfigInfo: device %d is of an unknown type", i+1)
		}
	}
	for i, o := range info.ExtraConfig {
		if o == nil {
			return fmt.Errorf("decode VirtualMachineConfigInfo: extraConfig %d is of an unknown type", i+1)
		}
	}
	return nil
}

// ParseConfig reads VMConfig.Raw: what of it does not need vCenter is filled
// in, so no names of datastores other than those in paths.
func ParseConfig(raw []byte) (*VMConfig, error) {
	info, err := decodeConfig(raw)
	if err != nil {
		return nil, err
	}
	c := &VMConfig{
		Raw: raw, Name: info.Name, UUID: info.Uuid, InstanceUUID: info.InstanceUuid,
		HardwareVersion: info.Version, GuestID: info.GuestId, VmPathName: info.Files.VmPathName,
		ChangeTracking: info.ChangeTrackingEnabled != nil && *info.ChangeTrackingEnabled,
		NumCPU:         info.Hardware.NumCPU, MemoryMB: int64(info.Hardware.MemoryMB),
		Disks: disks(info.Hardware.Device), NICs: nics(info.Hardware.Device),
		ExtraConfig: map[string]string{},
	}
	c.fillMarks(info)
	return c, nil
}

// snapshots flattens a tree of snapshots, parents before their children.
func snapshots(info *types.VirtualMachineSnapshotInfo) []SnapshotInfo {
	if info == nil {
		return nil
	}
	var list []SnapshotInfo
	var walk func(tree []types.VirtualMachineSnapshotTree, depth int)
	walk = func(tree []types.VirtualMachineSnapshotTree, depth int) {
		for _, t := range tree {
			list = append(list, SnapshotInfo{
				Ref: t.Snapshot.Value, Name: t.Name, Description: t.Description, Created: t.CreateTime,
				Depth: depth, Quiesced: t.Quiesced, Children: len(t.ChildSnapshotList),
				Current: info.CurrentSnapshot != nil && *info.CurrentSnapshot == t.Snapshot,
			})
			walk(t.ChildSnapshotList, depth+1)
		}
	}
	walk(info.RootSnapshotList, 0)
	return list
}

// datacenterPath returns the inventory path of the datacenter that holds an
// entity, "Europe/DC1".
func (c *Client) datacenterPath(ctx context.Context, entity types.ManagedObjectReference) (string, error) {
	line, err := mo.Ancestors(ctx, c.vim, c.vim.ServiceContent.PropertyCollector, entity)
	if err != nil {
		return "", fmt.Errorf("datacenter: %w", explain(err))
	}
	p := ""
	for _, e := range line {
		if e.Parent == nil {
			continue // the root folder has no part in paths
		}
		p = path.Join(p, e.Name)
		if e.Self.Type == "Datacenter" {
			return p, nil
		}
	}
	return "", fmt.Errorf("datacenter: %w", ErrNotFound)
}

type datastore struct{ name, kind string }

// nameDatastores fills in the names and types of the disks' datastores.
func (c *Client) nameDatastores(ctx context.Context, list []Disk) error {
	for i := range list {
		d := &list[i]
		if d.DatastoreRef == "" {
			continue
		}
		r := ref("Datastore", d.DatastoreRef)
		ds, ok := c.datastores.load(r)
		if !ok {
			var m mo.Datastore
			if err := c.get(ctx, r, &m, "summary.name", "summary.type"); err != nil {
				return fmt.Errorf("disk %d: datastore %s: %w", d.Key, d.DatastoreRef, err)
			}
			ds = datastore{m.Summary.Name, m.Summary.Type}
			c.datastores.store(r, ds)
		}
		d.Datastore, d.DatastoreType = ds.name, ds.kind
	}
	return nil
}
