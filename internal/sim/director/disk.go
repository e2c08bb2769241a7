package director

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// A disk is an independent ("named") disk: it belongs to a VDC and outlives the
// VMs that it is attached to.
type disk struct {
	thing
	vdc, owner, profile string // ids
	sizeMB, iops        int64
	busType, busSub     string
	sharing             string // None, DiskSharing, ControllerSharing
	uuid                string
	path                string // in vCenter, "[store] folder/file.vmdk"
	store               string
	vms                 []*vm
	created             time.Time
	meta                metadata
	status              int
}

// diskBuses are the bus types and subtypes that an independent disk may have,
// with the numbers of VmSpecSection's adapters.
var diskBuses = map[[2]string]string{
	{"5", ""}: "1", {"6", "buslogic"}: "2", {"6", "lsilogic"}: "3", {"6", "lsilogicsas"}: "4", {"6", "VirtualSCSI"}: "5",
	{"20", "vmware.sata.ahci"}: "6", {"20", "vmware.nvme.controller"}: "7",
}

func (d *disk) adapter() string { return diskBuses[[2]string{d.busType, d.busSub}] }

func (d *disk) attachedTo(m *vm) bool { return slices.Contains(d.vms, m) }

func (s *Server) diskHref(d *disk) string { return s.href("/api/disk/" + d.id) }

func diskOwner(d *disk) taskOwner { return taskOwner{"disk", d.id, d.name} }

// disksOf are the independent disks attached to a VM.
func (s *Server) disksOf(m *vm) []*disk {
	var out []*disk
	for _, d := range sorted(s.disks) {
		if d.attachedTo(m) {
			out = append(out, d)
		}
	}
	return out
}

// namedDisk is the independent disk behind a device; nil for a VM's own.
func (s *Server) namedDisk(m *vm, dev *types.VirtualDisk) *disk {
	return s.namedAt(m, pathOf(dev))
}

// namedAt is the independent disk of a VM with that path; nil where the disk is
// the VM's own.
func (s *Server) namedAt(m *vm, path string) *disk {
	if path == "" {
		return nil
	}
	for _, d := range s.disks {
		if d.path == path && d.attachedTo(m) {
			return d
		}
	}
	return nil
}

// pathOf is the datastore path of a disk.
func pathOf(dev *types.VirtualDisk) string {
	if b, is := dev.Backing.(types.BaseVirtualDeviceFileBackingInfo); is {
		return b.GetVirtualDeviceFileBackingInfo().FileName
	}
	return ""
}

// theDisk is the disk of the path, if the caller may use it: its owner, and
// the administrators.
func (c *call) theDisk() (*disk, error) { return c.diskNamed(c.path("id")) }

func (c *call) diskNamed(ref string) (*disk, error) {
	id := uuidIn(ref)
	d := c.s.disks[id]
	if d == nil {
		return nil, missing("disk", or(id, ref))
	}
	if !c.seesDisk(d) {
		return nil, noAccess("disk", id)
	}
	return d, nil
}

func (c *call) seesDisk(d *disk) bool {
	org := c.s.vdcs[d.vdc].org
	return c.orgAdmin(org) || c.login.org.id == org && d.owner == c.login.user.id
}

// idle refuses to change a disk that a task occupies.
func (c *call) idle(d *disk) error {
	if c.s.working(d.id) {
		return busy("com.vmware.vcloud.entity.disk", d.name)
	}
	return nil
}

// createDisk makes an independent disk in a VDC.
func (c *call) createDisk() (*answer, error) {
	v, err := c.theVDC()
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "DiskCreateParams")
	if err != nil {
		return nil, err
	}
	if !v.enabled {
		return nil, badRequest("The VDC %s is disabled.", v.name)
	}
	d := &disk{
		thing: thing{id: newID(), seq: c.s.next()}, vdc: v.id, owner: c.login.user.id, uuid: newID(), created: time.Now(), busType: "6",
		busSub: "lsilogic", sharing: "None",
	}
	if c.provider() {
		d.owner = c.s.systemUser().id
	}
	if p := c.s.profileNamed(v, ""); p != nil {
		d.profile = p.id
	}
	if err := c.readDisk(d, child(doc, "Disk")); err != nil {
		return nil, err
	}
	if err := c.s.checkStorage(c.s.profiles[d.profile], d.sizeMB); err != nil {
		return nil, err
	}
	c.s.disks[d.id] = d
	c.start("vdcCreateDisk", "Creating Disk", diskOwner(d), func(ctx context.Context) error {
		err := c.s.makeDisk(ctx, d)
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		if d.status = stateResolved; err != nil {
			d.status = stateFailed
		}
		return err
	})
	return &answer{status: 201, typ: mediaVCloud + "disk", doc: c.diskNode(d), header: map[string]string{"Location": c.s.diskHref(d)}}, nil
}

// readDisk takes over what a Disk document says. What it leaves out stays.
func (c *call) readDisk(d *disk, doc *node) error {
	name := attr(doc, "name")
	if strings.TrimSpace(name) == "" || utf8.RuneCountInString(name) > 128 {
		return badRequest("The name %q is empty or too long.", name)
	}
	d.name = name
	if child(doc, "Description") != nil {
		d.desc = raw(doc, "Description")
	}
	size := int64(atoi(attr(doc, "sizeMb")))
	if attr(doc, "sizeMb") == "" {
		size = d.sizeMB
	}
	switch {
	case size < 1 || size > maxDiskMB:
		return badRequest("A disk cannot have %d MB.", size)
	case size < d.sizeMB:
		return badRequest("The disk %q cannot shrink.", d.name)
	}
	d.sizeMB = size
	if v := attr(doc, "iops"); v != "" {
		if d.iops = int64(atoi(v)); d.iops < 0 {
			return badRequest("The IOPS of a disk cannot be negative.")
		}
	}
	if typ, sub := attr(doc, "busType"), attr(doc, "busSubType"); typ != "" {
		if typ == "6" && sub == "" {
			sub = "lsilogic"
		}
		if diskBuses[[2]string{typ, sub}] == "" {
			return badRequest("The bus type %q with the subtype %q does not exist.", typ, sub)
		}
		d.busType, d.busSub = typ, sub
	}
	if err := d.readSharing(doc); err != nil {
		return err
	}
	if truth(attr(doc, "encrypted")) {
		return badRequest("The disk %q cannot be encrypted: its storage profile does not say so.", d.name)
	}
	ref := child(doc, "StorageProfile")
	if ref == nil {
		return nil
	}
	p, err := c.profileOf(&vapp{vdc: d.vdc}, ref)
	if err != nil {
		return err
	}
	d.profile = p.id
	return nil
}

// readSharing reads how several VMs share a disk, which cannot change later.
func (d *disk) readSharing(doc *node) error {
	now := attr(doc, "sharingType")
	if now == "" && attr(doc, "shareable") != "" && truth(attr(doc, "shareable")) {
		// Before API 36.0 shareable was all that there was.
		now = "DiskSharing"
	}
	switch {
	case now == "" || now == d.sharing:
		return nil
	case d.path != "":
		return badRequest("The sharing type of disk %q cannot be changed.", d.name)
	case now != "None" && now != "DiskSharing" && now != "ControllerSharing":
		return badRequest("The sharing type %q does not exist.", now)
	case now != "None" && d.busType != "6":
		return badRequest("Only SCSI disks can be shared.")
	}
	d.sharing = now
	return nil
}

// makeDisk makes the file of a disk in vCenter.
func (s *Server) makeDisk(ctx context.Context, d *disk) error {
	s.mu.Lock()
	v := s.vdcs[d.vdc]
	store := ""
	if p := s.profiles[d.profile]; p != nil {
		store = p.storeBesides("")
	}
	size, sharing := d.sizeMB, d.sharing
	s.mu.Unlock()
	if store == "" {
		var err error
		if store, err = v.vc.anyStore(ctx); err != nil {
			return err
		}
	}
	m, dc, err := v.vc.diskManager(ctx)
	if err != nil {
		return err
	}
	folder := fmt.Sprintf("[%s] %s%s", store, disksFolder, v.id)
	if err := object.NewFileManager(m.Client()).MakeDirectory(ctx, folder, dc, true); err != nil && !alreadyThere(err) {
		return fmt.Errorf("disk %s: folder: %w", d.name, err)
	}
	path, format := folder+"/"+d.id+".vmdk", string(types.VirtualDiskTypeThin)
	if sharing == "DiskSharing" {
		// vSphere shares only eager-zeroed disks (VirtualDiskSharing).
		format = string(types.VirtualDiskTypeEagerZeroedThick)
	}
	t, err := m.CreateVirtualDisk(ctx, path, dc, &types.FileBackedVirtualDiskSpec{
		VirtualDiskSpec: types.VirtualDiskSpec{DiskType: format, AdapterType: "lsiLogic"}, CapacityKb: size << 10})
	if err := await(ctx, t, err); err != nil {
		return fmt.Errorf("disk %s: create: %w", d.name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d.path, d.store = path, store
	return nil
}

// diskManager is the manager of virtual disks of a vCenter, and its datacenter.
func (vc *vcenter) diskManager(ctx context.Context) (*object.VirtualDiskManager, *object.Datacenter, error) {
	client, err := vc.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	dc, err := vc.datacenter(ctx)
	return object.NewVirtualDiskManager(client), dc, err
}

// putDisk changes a disk that is attached to no VM.
func (c *call) putDisk() (*answer, error) {
	d, err := c.theDisk()
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "Disk")
	if err != nil {
		return nil, err
	}
	if err := c.idle(d); err != nil {
		return nil, err
	}
	if len(d.vms) > 0 {
		return nil, badRequest("The disk %q cannot be changed: it is attached to VM %q.", d.name, d.vms[0].name)
	}
	next := *d
	if err := c.readDisk(&next, doc); err != nil {
		return nil, err
	}
	if next.profile == d.profile {
		err = c.s.checkStorage(c.s.profiles[d.profile], next.sizeMB-d.sizeMB)
	} else {
		err = c.s.checkStorage(c.s.profiles[next.profile], next.sizeMB)
	}
	if err != nil {
		return nil, err
	}
	vc := c.s.vdcs[d.vdc].vc
	return c.accepted(c.start("vdcUpdateDisk", "Updating Disk", diskOwner(d), func(ctx context.Context) error {
		if next.sizeMB > d.sizeMB {
			m, dc, err := vc.diskManager(ctx)
			if err != nil {
				return err
			}
			t, err := m.ExtendVirtualDisk(ctx, d.path, dc, next.sizeMB<<10, nil)
			if err := await(ctx, t, err); err != nil {
				return fmt.Errorf("disk %s: extend: %w", d.name, err)
			}
		}
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		d.name, d.desc, d.sizeMB, d.iops, d.profile, d.busType, d.busSub = next.name, next.desc, next.sizeMB, next.iops, next.profile, next.busType, next.busSub
		return nil
	})), nil
}

// deleteDisk deletes a disk that is attached to no VM.
func (c *call) deleteDisk() (*answer, error) {
	d, err := c.theDisk()
	if err != nil {
		return nil, err
	}
	if err := c.idle(d); err != nil {
		return nil, err
	}
	if len(d.vms) > 0 {
		return nil, badRequest("The disk %q cannot be deleted: it is attached to VM %q.", d.name, d.vms[0].name)
	}
	return c.accepted(c.start("vdcDeleteDisk", "Deleting Disk", diskOwner(d), func(ctx context.Context) error {
		return c.s.destroyDisk(ctx, d)
	})), nil
}

// destroyDisk deletes a disk with its file.
func (s *Server) destroyDisk(ctx context.Context, d *disk) error {
	s.mu.Lock()
	vc, path := s.vdcs[d.vdc].vc, d.path
	s.mu.Unlock()
	if path != "" {
		m, dc, err := vc.diskManager(ctx)
		if err != nil {
			return err
		}
		t, err := m.DeleteVirtualDisk(ctx, path, dc)
		if err := await(ctx, t, err); err != nil {
			return fmt.Errorf("disk %s: delete: %w", d.name, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.disks, d.id)
	return nil
}

func (c *call) getDisk() (*answer, error) {
	d, err := c.theDisk()
	if err != nil {
		return nil, err
	}
	return ok(mediaVCloud+"disk", c.diskNode(d)), nil
}

// diskNode is the document of a disk. Since API 33.0 its size is in MB.
func (c *call) diskNode(d *disk) *node {
	s, href := c.s, c.s.diskHref(d)
	n := el("Disk", "sizeMb", num(d.sizeMB), "encrypted", "false", "busType", d.busType, "busSubType", d.busSub, "shareable", yes(d.sharing != "None"),
		"sharingType", d.sharing, "uuid", d.uuid, "status", num(d.status), "name", d.name, "id", "urn:vcloud:disk:"+d.id, "href", href,
		"type", mediaVCloud+"disk+xml")
	if !c.newer("37.0") {
		n.CreateAttr("iops", num(d.iops))
	}
	add(n, link("up", s.href("/api/vdc/"+d.vdc), mediaVCloud+"vdc+xml"), link("down", href+"/metadata", mediaVCloud+"metadata+xml"),
		link("down", href+"/owner", mediaVCloud+"owner+xml"), link("down", href+"/attachedVms", mediaVCloud+"vms+xml"))
	if d.status == stateResolved {
		add(n, link("edit", href, mediaVCloud+"disk+xml"), link("remove", href, ""))
	}
	add(n, text("Description", d.desc), s.tasksOn(d.id, d.status == stateFailed))
	return add(n, s.profileRef("StorageProfile", d.profile), c.diskOwnerNode(d))
}

func (c *call) diskOwnerNode(d *disk) *node {
	return add(el("Owner", "type", mediaVCloud+"owner+xml"), c.s.userRef("User", d.owner))
}

func (c *call) getDiskOwner() (*answer, error) {
	d, err := c.theDisk()
	if err != nil {
		return nil, err
	}
	n := c.diskOwnerNode(d)
	n.CreateAttr("href", c.s.diskHref(d)+"/owner")
	return ok(mediaVCloud+"owner", n), nil
}

// putDiskOwner hands a disk to another user of its organization.
func (c *call) putDiskOwner() (*answer, error) {
	d, err := c.theDisk()
	if err != nil {
		return nil, err
	}
	doc, err := c.parse(nsVCloud, "Owner")
	if err != nil {
		return nil, err
	}
	u := c.s.users[uuidIn(attr(child(doc, "User"), "href"))]
	if u == nil || u.org != c.s.vdcs[d.vdc].org {
		return nil, badRequest("The user %s is not a member of the organization of disk %s.", attr(child(doc, "User"), "href"), d.name)
	}
	d.owner = u.id
	return noContent(), nil
}

// attachedVMs are the VMs that a disk is attached to.
func (c *call) attachedVMs() (*answer, error) {
	d, err := c.theDisk()
	if err != nil {
		return nil, err
	}
	n := add(el("Vms", "href", c.s.diskHref(d)+"/attachedVms", "type", mediaVCloud+"vms+xml"), link("up", c.s.diskHref(d), mediaVCloud+"disk+xml"))
	for _, m := range d.vms {
		add(n, c.s.vmRef(m))
	}
	return ok(mediaVCloud+"vms", n), nil
}

func (s *Server) vmRef(m *vm) *node {
	return el("VmReference", "href", s.vmHref(m), "id", "urn:vcloud:vm:"+m.id, "name", m.name, "type", mediaVCloud+"vm+xml")
}
