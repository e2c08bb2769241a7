package vcenter

import (
	"crypto/sha1" // #nosec: what vSphere calls a thumbprint
	"fmt"
	"log"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vdisk"
)

const nfcPath = "/nfc/"

// A lease lets a client read or write the disks of a VM over HTTP for as
// long as it reports progress, and keeps others from changing them.
type lease struct {
	s       *Server
	id      string
	session string
	upload  bool
	obj     *nfcLease
	timeout time.Duration

	ended chan struct{} // closed when the lease is over

	mu      sync.Mutex
	vm      types.ManagedObjectReference // of an import: once it is made
	host    *esxHost                     // that the VM is on
	over    bool
	timer   *time.Timer
	devices map[string]*leaseDevice
	order   []string
}

// A leaseDevice is one file of a lease.
type leaseDevice struct {
	name   string
	layer  *layer // nil: a plain file
	plain  dsPath
	url    types.HttpNfcLeaseDeviceUrl
	done   bool // transferred at least once, whole
	active int
	size   int64
	sum    [sha1.Size]byte
}

// nfcLease is the lease's managed object.
type nfcLease struct {
	mo.HttpNfcLease
	l *lease
}

// newLease makes a lease that is initializing, for the caller's session.
func (s *Server) newLease(ctx *simulator.Context, upload bool) *lease {
	timeout := s.cfg.LeaseTimeout
	if d := s.faults.leaseTimeout(); d > 0 {
		timeout = d
	}
	l := &lease{
		s: s, id: uuid.NewString(), session: ctx.Session.Key, upload: upload, timeout: timeout,
		ended: make(chan struct{}), devices: map[string]*leaseDevice{},
	}
	l.obj = &nfcLease{l: l}
	l.obj.Self = types.ManagedObjectReference{Type: "HttpNfcLease", Value: fmt.Sprintf("session[%s]%s", ctx.Session.Key, l.id)}
	l.obj.State = types.HttpNfcLeaseStateInitializing
	l.obj.Mode = string(types.HttpNfcLeaseModePushOrGet)
	ctx.Session.Registry.Put(l.obj)
	s.mu.Lock()
	s.leases[l.id] = l
	s.mu.Unlock()
	return l
}

func (l *lease) update(ctx *simulator.Context, changes ...types.PropertyChange) {
	ctx.WithLock(l.obj, func() { ctx.Update(l.obj, changes) })
}

func (l *lease) entity() types.ManagedObjectReference {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.vm
}

// hold keeps the VM from being changed.
func (l *lease) hold(vs *vmState) {
	vs.io.Lock()
	vs.held[l.id] = true
	vs.io.Unlock()
}

// ready publishes where the devices are and starts the clock.
func (l *lease) ready(info *types.HttpNfcLeaseInfo) {
	info.Lease, info.LeaseTimeout = l.obj.Self, int32(max(l.timeout/time.Second, 1))
	l.mu.Lock()
	over := l.over
	if !over {
		l.timer = time.AfterFunc(l.timeout, func() {
			l.fail(l.s.newContext(), refuse(&types.Timedout{}, "the lease timed out: no progress in %s", l.timeout))
		})
	}
	l.mu.Unlock()
	if over {
		return
	}
	l.update(l.s.newContext(), types.PropertyChange{Name: "info", Val: info},
		types.PropertyChange{Name: "state", Val: types.HttpNfcLeaseStateReady})
}

// finish ends the lease; it reports whether it had not ended before.
func (l *lease) finish() bool {
	l.mu.Lock()
	if l.over {
		l.mu.Unlock()
		return false
	}
	l.over = true
	if l.timer != nil {
		l.timer.Stop()
	}
	close(l.ended)
	l.mu.Unlock()
	l.s.mu.Lock()
	delete(l.s.leases, l.id)
	l.s.mu.Unlock()
	if vs := l.s.state(l.entity()); vs != nil {
		vs.io.Lock()
		delete(vs.held, l.id)
		vs.io.Unlock()
	}
	return true
}

// fail ends the lease with an error. What an import made goes with it.
func (l *lease) fail(ctx *simulator.Context, err error) {
	if !l.finish() {
		return
	}
	if vm := l.entity(); l.upload && vm.Value != "" {
		l.s.discard(vm)
	}
	l.update(ctx, types.PropertyChange{Name: "error", Val: localized(err)},
		types.PropertyChange{Name: "state", Val: types.HttpNfcLeaseStateError})
}

// discard destroys what an import made.
func (s *Server) discard(vm types.ManagedObjectReference) {
	_, end, err := s.begin(vm, false)
	if err != nil {
		return
	}
	defer end()
	if err := s.destroy(s.newContext(), vm); err != nil {
		log.Printf("vcenter simulator: discard import %s: %v", vm.Value, err)
	}
}

// end is fail for a server that closes.
func (l *lease) end() {
	l.fail(l.s.newContext(), refuse(&types.HostCommunication{}, "the server closes"))
}

// endLeases aborts the leases of a session that logs out.
func (s *Server) endLeases(session string) {
	s.mu.Lock()
	var list []*lease
	for _, l := range s.leases {
		if l.session == session {
			list = append(list, l)
		}
	}
	s.mu.Unlock()
	for _, l := range list {
		go l.fail(s.newContext(), refuse(&types.NotAuthenticated{}, "the session of the lease has ended"))
	}
}

// addDisk adds a disk to the lease's devices.
func (l *lease) addDisk(vmName string, devices []types.BaseVirtualDevice, disk *types.VirtualDisk, top *layer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.order)
	d := &leaseDevice{name: fmt.Sprintf("disk-%d.vmdk", n), layer: top}
	slot := slotName(devices, disk)
	d.url = types.HttpNfcLeaseDeviceUrl{
		Key: fmt.Sprintf("/%s/%s", l.vm.Value, slot),
		Url: l.url(d.name), SslThumbprint: l.thumbprint(), Disk: types.NewBool(true), TargetId: d.name,
		DatastoreKey: l.s.url.Host + "/" + top.file.datastore, FileSize: vdisk.Allocated(top.extentPath()),
	}
	if l.upload {
		d.url.ImportKey = fmt.Sprintf("/%s/%s", vmName, slot)
	}
	l.devices[d.name], l.order = d, append(l.order, d.name)
}

func (l *lease) addPlain(p dsPath) {
	name := p.base()
	d := &leaseDevice{name: name, plain: p}
	d.url = types.HttpNfcLeaseDeviceUrl{
		Key: fmt.Sprintf("/%s/nvram", l.vm.Value), ImportKey: "", Url: l.url(name), SslThumbprint: l.thumbprint(),
		Disk: types.NewBool(false), TargetId: name,
	}
	l.devices[name], l.order = d, append(l.order, name)
}

func (l *lease) url(name string) string {
	host := l.s.url.Host
	switch {
	case l.s.cfg.NFCWildcard:
		host = "*"
	case l.direct():
		host = l.host.addr
	}
	return "https://" + host + nfcPath + l.id + "/" + strings.ReplaceAll(name, "%", "%25")
}

func (l *lease) urls() []types.HttpNfcLeaseDeviceUrl {
	out := make([]types.HttpNfcLeaseDeviceUrl, 0, len(l.order))
	for _, name := range l.order {
		out = append(out, l.devices[name].url)
	}
	return out
}

// slotName names a disk by its place, as leases do.
func slotName(devices []types.BaseVirtualDevice, disk *types.VirtualDisk) string {
	c := findDevice(devices, disk.ControllerKey)
	kind := strings.TrimPrefix(fmt.Sprintf("%T", c), "*types.")
	bus := int32(0)
	if b, ok := c.(types.BaseVirtualController); ok {
		bus = b.GetVirtualController().BusNumber
	}
	unit := int32(0)
	if disk.UnitNumber != nil {
		unit = *disk.UnitNumber
	}
	return fmt.Sprintf("%s%d:%d", kind, bus, unit)
}

// direct tells whether the host of the VM serves the lease itself. A lease
// that names no host is served by whom the client is connected to.
func (l *lease) direct() bool {
	return l.host != nil && l.host.http != nil && !l.s.cfg.NFCWildcard
}

func (l *lease) thumbprint() string {
	if l.s.faults.forgesThumbprint() {
		return strings.TrimSuffix(strings.Repeat("BA:", sha1.Size), ":")
	}
	if l.direct() {
		return thumbprintOf(l.host.leaf)
	}
	return thumbprintOf(l.s.leaf)
}

func errLeaseOver() error {
	return refuse(&types.InvalidState{}, "the lease has ended")
}

// HttpNfcLeaseProgress keeps the lease alive.
func (o *nfcLease) HttpNfcLeaseProgress(ctx *simulator.Context, req *types.HttpNfcLeaseProgress) soap.HasFault {
	l := o.l
	l.mu.Lock()
	over := l.over
	if !over && l.timer != nil {
		l.timer.Reset(l.timeout)
	}
	l.mu.Unlock()
	if over {
		return &methods.HttpNfcLeaseProgressBody{Fault_: soapFault(errLeaseOver())}
	}
	if req.Percent < 0 || req.Percent > 100 {
		return &methods.HttpNfcLeaseProgressBody{Fault_: soapFault(refuse(&types.InvalidArgument{InvalidProperty: "percent"}, "%d percent", req.Percent))}
	}
	ctx.Update(o, []types.PropertyChange{{Name: "transferProgress", Val: req.Percent}})
	return &methods.HttpNfcLeaseProgressBody{Res: &types.HttpNfcLeaseProgressResponse{}}
}

// HttpNfcLeaseComplete ends the lease; an import's VM may be used from now
// on. It is refused while an upload is missing.
func (o *nfcLease) HttpNfcLeaseComplete(ctx *simulator.Context, _ *types.HttpNfcLeaseComplete) soap.HasFault {
	l := o.l
	var missing string
	l.mu.Lock()
	for _, d := range l.devices {
		if l.upload && (!d.done || d.active > 0) {
			missing = d.name
		}
	}
	l.mu.Unlock()
	if missing != "" {
		return &methods.HttpNfcLeaseCompleteBody{Fault_: soapFault(refuse(&types.InvalidState{}, "%s was not uploaded", missing))}
	}
	if !l.finish() {
		return &methods.HttpNfcLeaseCompleteBody{Fault_: soapFault(errLeaseOver())}
	}
	ctx.Update(o, []types.PropertyChange{{Name: "state", Val: types.HttpNfcLeaseStateDone}})
	if vs := l.s.state(l.entity()); l.upload && vs != nil {
		if err := l.s.publish(ctx, vs); err != nil {
			return &methods.HttpNfcLeaseCompleteBody{Fault_: soapFault(err)}
		}
	}
	return &methods.HttpNfcLeaseCompleteBody{Res: &types.HttpNfcLeaseCompleteResponse{}}
}

// HttpNfcLeaseAbort ends the lease and destroys what an import made.
func (o *nfcLease) HttpNfcLeaseAbort(ctx *simulator.Context, req *types.HttpNfcLeaseAbort) soap.HasFault {
	l := o.l
	err := refuse(&types.RequestCanceled{}, "the lease was aborted")
	if f := req.Fault; f != nil && f.Fault != nil {
		err = refuse(f.Fault, "%s", f.LocalizedMessage)
	}
	l.fail(ctx, err)
	return &methods.HttpNfcLeaseAbortBody{Res: &types.HttpNfcLeaseAbortResponse{}}
}

// HttpNfcLeaseGetManifest lists what was transferred.
func (o *nfcLease) HttpNfcLeaseGetManifest(_ *simulator.Context, _ *types.HttpNfcLeaseGetManifest) soap.HasFault {
	l := o.l
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []types.HttpNfcLeaseManifestEntry
	for _, name := range l.order {
		d := l.devices[name]
		if !d.done {
			continue
		}
		e := types.HttpNfcLeaseManifestEntry{
			Key: d.url.Key, Sha1: fmt.Sprintf("%x", d.sum), ChecksumType: "sha1", Checksum: fmt.Sprintf("%x", d.sum),
			Size: d.size, Disk: d.layer != nil,
		}
		if d.layer != nil {
			e.Capacity, e.PopulatedSize = d.layer.capacity(), vdisk.Allocated(d.layer.extentPath())
		}
		list = append(list, e)
	}
	return &methods.HttpNfcLeaseGetManifestBody{Res: &types.HttpNfcLeaseGetManifestResponse{Returnval: list}}
}
