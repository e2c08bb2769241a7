package director

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/vmware/govmomi/object"
	vim "github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// A snapshotSpec is a snapshot as it was asked for.
type snapshotSpec struct {
	name, desc      string
	memory, quiesce bool
}

func (sp *snapshotSpec) named() string {
	return or(sp.name, "user-snapshot-"+time.Now().UTC().Format("20060102150405"))
}

// createSnapshot takes the one snapshot that vCD keeps of a VM. Before API 39.0,
// and at the limit since then, whatever snapshots exist are removed first, no
// matter who made them.
func (c *call) createSnapshot() (*answer, error) {
	a, m, err := c.change(accessChange)
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "CreateSnapshotParams")
	if err != nil {
		return nil, err
	}
	return c.snapshot(a, m, snapshotSpec{attr(doc, "name"), raw(doc, "Description"), truth(attr(doc, "memory")), truth(attr(doc, "quiesce"))})
}

// snapshotLimit is how many snapshots a VM of an organization may have for this
// client. 0 in the settings is no limit (OrgOperationLimitsSettingsType) but
// vSphere's.
func (c *call) snapshotLimit(o *org) int {
	if !c.newer("39.0") {
		return 1
	}
	return or(o.settings.limits.snapshots, 32)
}

func (c *call) snapshot(a *vapp, m *vm, sp snapshotSpec) (*answer, error) {
	limit, vms := c.snapshotLimit(c.s.orgOf(a)), within(a, m)
	if err := c.refresh(vms...); err != nil {
		return nil, err
	}
	if err := c.mayChange(a, m, accessChange); err != nil {
		return nil, err
	}
	if len(vms) == 0 {
		return nil, badRequest("The vApp %q has no VM to take a snapshot of.", a.name)
	}
	for _, v := range vms {
		switch {
		case v.facts == nil || v.lost:
			return nil, invalidState("The VM %q is not available.", v.name)
		case len(c.s.disksOf(v)) > 0:
			// Cloud Director Tenant Guide, "Take a Snapshot of a Virtual
			// Machine": verify that it is not connected to a named disk.
			return nil, badRequest("A snapshot of VM %q cannot be taken: it has independent disks.", v.name)
		case limit > 1 && v.facts.snapshots >= limit:
			return nil, badRequest("The VM %q has reached its limit of %d snapshots.", v.name, limit)
		}
		if limit == 1 && v.facts.snapshots > 0 {
			continue // what is there makes room
		}
		if err := c.s.checkStorage(c.s.profiles[v.profile], v.snapshotSize()>>20); err != nil {
			return nil, err
		}
	}
	name := sp.named()
	return c.accepted(c.start("vappCreateSnapshot", "Creating snapshot of", ownerOf(a, m), func(ctx context.Context) error {
		return c.s.each(ctx, vms, func(ctx context.Context, obj *object.VirtualMachine, v *vm) error {
			c.s.mu.Lock()
			full := v.facts.snapshots > 0 && limit == 1
			c.s.mu.Unlock()
			if full {
				t, err := obj.RemoveAllSnapshot(ctx, nil)
				if err := await(ctx, t, err); err != nil {
					return err
				}
			}
			state, err := obj.PowerState(ctx)
			if err != nil {
				return err
			}
			on := state == types.VirtualMachinePowerStatePoweredOn
			t, err := obj.CreateSnapshot(ctx, name, sp.desc, sp.memory && on, sp.quiesce && on && !sp.memory)
			return await(ctx, t, err)
		})
	})), nil
}

func (c *call) removeSnapshots() (*answer, error) {
	a, m, err := c.change(accessChange)
	if err != nil {
		return nil, err
	}
	vms := within(a, m)
	return c.accepted(c.start("vappRemoveAllSnapshots", "Removing snapshots of", ownerOf(a, m), func(ctx context.Context) error {
		return c.s.each(ctx, vms, func(ctx context.Context, obj *object.VirtualMachine, _ *vm) error {
			t, err := obj.RemoveAllSnapshot(ctx, nil)
			return await(ctx, t, err)
		})
	})), nil
}

func (c *call) revertSnapshot() (*answer, error) {
	a, m, err := c.change(accessChange)
	if err != nil {
		return nil, err
	}
	vms := within(a, m)
	if err := c.refresh(vms...); err != nil {
		return nil, err
	}
	if err := c.mayChange(a, m, accessChange); err != nil {
		return nil, err
	}
	for _, v := range vms {
		if v.facts == nil || v.facts.snapshot == nil {
			return nil, invalidState("The VM %q has no snapshot to go back to.", v.name)
		}
	}
	return c.accepted(c.start("vappRevertToCurrentSnapshot", "Reverting to snapshot of", ownerOf(a, m), func(ctx context.Context) error {
		err := c.s.each(ctx, vms, func(ctx context.Context, obj *object.VirtualMachine, _ *vm) error {
			t, err := obj.RevertToCurrentSnapshot(ctx, true)
			return await(ctx, t, err)
		})
		return c.s.reverted(a, vms, err)
	})), nil
}

// reverted follows VMs whose snapshot brought them back to life.
func (s *Server) reverted(a *vapp, vms []*vm, err error) error {
	if err != nil {
		return err
	}
	s.mu.Lock()
	var on []*vm
	for _, v := range vms {
		if st := v.state(); (st == stateOn || st == stateSuspended) && !v.deployed {
			on = append(on, v)
		}
	}
	s.mu.Unlock()
	if len(on) == 0 {
		return nil
	}
	return s.deployed(a, on, true)
}

// snapshotURN names a snapshot of a VM in /cloudapi.
func (m *vm) snapshotURN(t *types.VirtualMachineSnapshotTree) string {
	return "urn:vcloud:vmSnapshot:" + uuidOf(m.id, t.Snapshot.Value)
}

// eachSnapshot goes through a VM's snapshots, parents first.
func (m *vm) eachSnapshot(do func(t, parent *types.VirtualMachineSnapshotTree)) {
	var walk func([]types.VirtualMachineSnapshotTree, *types.VirtualMachineSnapshotTree)
	walk = func(list []types.VirtualMachineSnapshotTree, parent *types.VirtualMachineSnapshotTree) {
		for i := range list {
			do(&list[i], parent)
			walk(list[i].ChildSnapshotList, &list[i])
		}
	}
	if m.facts != nil {
		walk(m.facts.snapshotRoots, nil)
	}
}

// snapshotJSON is a VmSnapshot (Cloud Director OpenAPI 39.1).
func (m *vm) snapshotJSON(t, parent *types.VirtualMachineSnapshotTree) map[string]any {
	var up any
	if parent != nil {
		up = m.snapshotURN(parent)
	}
	state := "POWERED_OFF"
	switch t.State {
	case types.VirtualMachinePowerStatePoweredOn:
		state = "POWERED_ON"
	case types.VirtualMachinePowerStateSuspended:
		state = "SUSPENDED"
	}
	return map[string]any{
		"id": m.snapshotURN(t), "name": t.Name, "isCurrent": m.facts.snapshot != nil && m.facts.snapshot.Snapshot == t.Snapshot, "state": state,
		"storageConsumedMb": m.snapshotSize() >> 20, "dateCreated": stamp(t.CreateTime), "memory": t.State == types.VirtualMachinePowerStatePoweredOn,
		"quiesce": t.Quiesced, "vappSnapshotId": nil, "parentSnapshotId": up,
		"vm": map[string]any{"name": m.name, "id": "urn:vcloud:vm:" + m.id}, "type": "VM",
	}
}

// snapshotVM is the VM of a path that exists since 39.0, its facts fresh.
func (c *call) snapshotVM() (*vm, error) {
	m, err := c.urnVM()
	if err != nil {
		return nil, err
	}
	if !c.newer("39.0") {
		return nil, notFound("%s was not found.", c.r.URL.Path)
	}
	return m, c.refresh(m)
}

// cloudSnapshots lists a VM's snapshots.
func (c *call) cloudSnapshots() (*answer, error) {
	m, err := c.snapshotVM()
	if err != nil {
		return nil, err
	}
	out := []any{}
	m.eachSnapshot(func(t, parent *types.VirtualMachineSnapshotTree) { out = append(out, m.snapshotJSON(t, parent)) })
	return c.list(out)
}

// theSnapshot is the snapshot of the path.
func (c *call) theSnapshot(m *vm) (t, parent *types.VirtualMachineSnapshotTree, err error) {
	id := uuidIn(c.path("snapshot"))
	m.eachSnapshot(func(one, up *types.VirtualMachineSnapshotTree) {
		if id != "" && uuidIn(m.snapshotURN(one)) == id {
			t, parent = one, up
		}
	})
	if t == nil {
		return nil, nil, missing("vmSnapshot", c.path("snapshot"))
	}
	return t, parent, nil
}

func (c *call) cloudSnapshot() (*answer, error) {
	m, err := c.snapshotVM()
	if err != nil {
		return nil, err
	}
	t, parent, err := c.theSnapshot(m)
	if err != nil {
		return nil, err
	}
	return asJSON(m.snapshotJSON(t, parent)), nil
}

// begun is the answer of /cloudapi to what began a task.
func (c *call) begun(a *answer, err error) (*answer, error) {
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusAccepted, header: a.header}, nil
}

func (c *call) newCloudSnapshot() (*answer, error) {
	m, err := c.snapshotVM()
	if err != nil {
		return nil, err
	}
	var body struct {
		Name            string
		Memory, Quiesce bool
	}
	if err := json.Unmarshal(c.body, &body); err != nil {
		return nil, badRequest("The body is not understood.")
	}
	if err := c.mayChange(m.vapp, m, accessChange); err != nil {
		return nil, err
	}
	return c.begun(c.snapshot(m.vapp, m, snapshotSpec{name: body.Name, memory: body.Memory, quiesce: body.Quiesce}))
}

// onSnapshot runs an action on the path's snapshot in a task.
func (c *call) onSnapshot(name, operation string, work func(context.Context, *object.VirtualMachine, types.ManagedObjectReference) error) (*answer, error) {
	m, err := c.snapshotVM()
	if err != nil {
		return nil, err
	}
	t, _, err := c.theSnapshot(m)
	if err != nil {
		return nil, err
	}
	if err := c.mayChange(m.vapp, m, accessChange); err != nil {
		return nil, err
	}
	ref := t.Snapshot
	return c.begun(c.accepted(c.start(name, operation, vmOwner(m), func(ctx context.Context) error {
		err := c.s.each(ctx, []*vm{m}, func(ctx context.Context, obj *object.VirtualMachine, _ *vm) error { return work(ctx, obj, ref) })
		return c.s.reverted(m.vapp, []*vm{m}, err)
	})), nil)
}

func (c *call) deleteCloudSnapshot() (*answer, error) {
	return c.onSnapshot("vappRemoveSnapshot", "Removing snapshot of", func(ctx context.Context, obj *object.VirtualMachine, ref types.ManagedObjectReference) error {
		res, err := vim.RemoveSnapshot_Task(ctx, obj.Client(), &types.RemoveSnapshot_Task{This: ref, Consolidate: types.NewBool(true)})
		if err != nil {
			return err
		}
		return await(ctx, object.NewTask(obj.Client(), res.Returnval), nil)
	})
}

func (c *call) revertCloudSnapshot() (*answer, error) {
	return c.onSnapshot("vappRevertToSnapshot", "Reverting to snapshot of", func(ctx context.Context, obj *object.VirtualMachine, ref types.ManagedObjectReference) error {
		res, err := vim.RevertToSnapshot_Task(ctx, obj.Client(), &types.RevertToSnapshot_Task{This: ref, SuppressPowerOn: types.NewBool(true)})
		if err != nil {
			return err
		}
		return await(ctx, object.NewTask(obj.Client(), res.Returnval), nil)
	})
}

// putCloudSnapshot renames a snapshot.
func (c *call) putCloudSnapshot() (*answer, error) {
	var body struct{ Name string }
	if err := json.Unmarshal(c.body, &body); err != nil || body.Name == "" {
		return nil, badRequest("A snapshot needs a name.")
	}
	return c.onSnapshot("vappUpdateSnapshot", "Updating snapshot of", func(ctx context.Context, obj *object.VirtualMachine, ref types.ManagedObjectReference) error {
		_, err := vim.RenameSnapshot(ctx, obj.Client(), &types.RenameSnapshot{This: ref, Name: body.Name})
		return err
	})
}
