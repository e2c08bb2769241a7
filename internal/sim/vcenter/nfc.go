package vcenter

import (
	"bufio"
	"crypto/sha1" // #nosec: what vSphere's manifests hold
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vdisk"
)

// ExportSnapshot leases the disks as the snapshot froze them.
func (v *vmSnapshot) ExportSnapshot(ctx *simulator.Context, _ *types.ExportSnapshot) soap.HasFault {
	ref := v.Self
	l, err := v.s.export(ctx, v.Vm, &ref)
	if err != nil {
		return &methods.ExportSnapshotBody{Fault_: soapFault(err)}
	}
	return &methods.ExportSnapshotBody{Res: &types.ExportSnapshotResponse{Returnval: l}}
}

// ExportVm leases the disks of a VM that is off.
func (v *virtualMachine) ExportVm(ctx *simulator.Context, _ *types.ExportVm) soap.HasFault {
	l, err := v.s.export(ctx, v.Self, nil)
	if err != nil {
		return &methods.ExportVmBody{Fault_: soapFault(err)}
	}
	return &methods.ExportVmBody{Res: &types.ExportVmResponse{Returnval: l}}
}

func (s *Server) export(ctx *simulator.Context, vmref types.ManagedObjectReference, snap *types.ManagedObjectReference) (types.ManagedObjectReference, error) {
	vs, err := s.mustState(vmref)
	if err != nil {
		return vmref, err
	}
	vm, err := s.vm(vmref)
	if err != nil {
		return vmref, err
	}
	l := s.newLease(ctx, false)
	l.vm, l.host = vmref, s.hostOf(ctx, vmref)
	var name string
	var home dsPath
	var devices []types.BaseVirtualDevice
	ctx.WithLock(vm, func() {
		name, devices = vm.Config.Name, slices.Clone(vm.Config.Hardware.Device)
		home, err = parseDS(vm.Config.Files.VmPathName)
	})
	if err == nil {
		err = l.addFrozen(vs, name, devices, snap)
	}
	if err != nil {
		l.finish()
		return vmref, err
	}
	l.addPlain(home.dir().join(strings.TrimSuffix(home.base(), ".vmx") + ".nvram"))
	var total int64
	for _, d := range l.devices {
		if d.layer != nil {
			total += d.layer.capacity() / 1024
		}
	}
	info := &types.HttpNfcLeaseInfo{Entity: vmref, DeviceUrl: l.urls(), TotalDiskCapacityInKB: total}
	if snap != nil {
		info.Entity = *snap
	}
	s.tasks.Add(1)
	go func() {
		defer s.tasks.Done()
		time.Sleep(s.cfg.TaskDelay)
		l.ready(info)
	}()
	return l.obj.Self, nil
}

// addFrozen adds the disks of a snapshot, or of a VM that is off, and holds
// the VM.
func (l *lease) addFrozen(vs *vmState, name string, devices []types.BaseVirtualDevice, snap *types.ManagedObjectReference) error {
	vs.io.Lock()
	defer vs.io.Unlock()
	if vs.gone {
		return gone(vs.ref)
	}
	if snap == nil {
		if vs.on {
			return refuse(&types.InvalidPowerState{
				RequestedState: types.VirtualMachinePowerStatePoweredOff, ExistingState: types.VirtualMachinePowerStatePoweredOn,
			}, "%s: only exported when it is off", vs.ref.Value)
		}
		for _, key := range vs.diskKeys() {
			l.addDisk(name, devices, vs.disks[key].device, vs.disks[key].top)
		}
	} else {
		n := vs.snaps[*snap]
		if n == nil {
			return gone(*snap)
		}
		var keys []int32
		for key := range n.disks {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for _, key := range keys {
			l.addDisk(name, devices, n.disks[key].device, n.disks[key].layer)
		}
	}
	vs.held[l.id] = true
	return nil
}

// ImportVApp makes a new VM and leases its disks for writing.
func (p *resourcePool) ImportVApp(ctx *simulator.Context, req *types.ImportVApp) soap.HasFault {
	spec, ok := req.Spec.(*types.VirtualMachineImportSpec)
	if !ok {
		return &methods.ImportVAppBody{Fault_: soapFault(refuse(&types.NotSupported{}, "import of %T", req.Spec))}
	}
	folder := p.s.inv.dc.VmFolder
	if req.Folder != nil {
		folder = *req.Folder
	}
	l := p.s.newLease(ctx, true)
	create := &types.CreateVM_Task{This: folder, Config: spec.ConfigSpec, Pool: p.Self, Host: req.Host}
	p.s.tasks.Add(1)
	go func() {
		defer p.s.tasks.Done()
		time.Sleep(p.s.cfg.TaskDelay)
		_, err := p.s.protect("ImportVApp", p.s.newContext(), func(ctx *simulator.Context) (types.AnyType, error) {
			return nil, p.s.startImport(ctx, l, create)
		})
		if err != nil {
			l.fail(p.s.newContext(), err)
		}
	}()
	return &methods.ImportVAppBody{Res: &types.ImportVAppResponse{Returnval: l.obj.Self}}
}

func (s *Server) startImport(ctx *simulator.Context, l *lease, req *types.CreateVM_Task) error {
	ref, err := s.createVM(ctx, req)
	if err != nil {
		return err
	}
	host := s.hostOf(ctx, ref)
	l.mu.Lock()
	l.vm, l.host = ref, host
	over := l.over
	l.mu.Unlock()
	if over {
		s.discard(ref)
		return errLeaseOver()
	}
	vs, err := s.mustState(ref)
	if err != nil {
		return err
	}
	vm, err := s.vm(ref)
	if err != nil {
		return err
	}
	l.hold(vs)
	var devices []types.BaseVirtualDevice
	ctx.WithLock(vm, func() { devices = slices.Clone(vm.Config.Hardware.Device) })
	var total int64
	vs.io.RLock()
	for _, key := range vs.diskKeys() {
		d := vs.disks[key]
		l.addDisk(req.Config.Name, devices, d.device, d.top)
		total += d.top.capacity() / 1024
	}
	vs.io.RUnlock()
	l.ready(&types.HttpNfcLeaseInfo{Entity: ref, DeviceUrl: l.urls(), TotalDiskCapacityInKB: total})
	return nil
}

// serveNFC transfers a leased device. The secret in the URL is all that it
// asks for, as on a host. Only the host that the VM was on when the lease was
// made has it; at is nil for the vCenter itself.
func (s *Server) serveNFC(w http.ResponseWriter, r *http.Request, at *esxHost) {
	id, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, nfcPath), "/")
	s.mu.Lock()
	l := s.leases[id]
	s.mu.Unlock()
	if l == nil {
		http.NotFound(w, r)
		return
	}
	l.mu.Lock()
	if l.direct() && l.host != at {
		l.mu.Unlock()
		http.NotFound(w, r)
		return
	}
	d := l.devices[name]
	if d != nil && !l.over {
		d.active++
	}
	l.mu.Unlock()
	if d == nil {
		http.NotFound(w, r)
		return
	}
	// The end of the lease is the end of the transfer, even of one that is
	// blocked.
	rc := http.NewResponseController(w)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-l.ended:
			_ = rc.SetReadDeadline(time.Now())
			_ = rc.SetWriteDeadline(time.Now())
		case <-stop:
		}
	}()
	switch {
	case r.Method == http.MethodGet && !l.upload:
		l.send(w, d)
	case (r.Method == http.MethodPut || r.Method == http.MethodPost) && l.upload:
		l.receive(w, r, d)
	default:
		l.transferred(d, false, 0, nil)
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	}
}

func (l *lease) transferred(d *leaseDevice, whole bool, n int64, sum []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d.active--
	d.done = whole
	if whole {
		d.size = n
		copy(d.sum[:], sum)
	}
}

// A nfcSink counts what is sent, and breaks off where a test wants it.
type nfcSink struct {
	l     *lease
	w     io.Writer
	n     int64
	limit int64 // -1: none
}

var errCut = errors.New("cut")

func (s *nfcSink) Write(p []byte) (int, error) {
	select {
	case <-s.l.ended:
		return 0, errCut
	default:
	}
	if s.limit >= 0 && s.n+int64(len(p)) > s.limit {
		return 0, errCut
	}
	n, err := s.w.Write(p)
	s.n += int64(n)
	s.l.s.stats.nfcOut.Add(int64(n))
	return n, err
}

func (l *lease) send(w http.ResponseWriter, d *leaseDevice) {
	sink := &nfcSink{l: l, w: w, limit: -1}
	if after, cut := l.s.faults.cutNFC(); cut {
		sink.limit = after
	}
	h := sha1.New()
	out := bufio.NewWriterSize(io.MultiWriter(sink, h), 256<<10)
	w.Header().Set("Content-Type", "application/x-vnd.vmware-streamVmdk")
	var err error
	if d.layer == nil {
		w.Header().Set("Content-Type", "application/octet-stream")
		err = l.sendPlain(out, d)
	} else {
		err = encodeLayer(out, d.layer, d.name)
	}
	if err == nil {
		err = out.Flush()
	}
	l.transferred(d, err == nil, sink.n, h.Sum(nil))
	if err != nil {
		panic(http.ErrAbortHandler) // the only way to tell once the header is out
	}
}

func (l *lease) sendPlain(w io.Writer, d *leaseDevice) error {
	local, err := l.s.store.local(d.plain)
	if err != nil {
		return err
	}
	f, err := os.Open(local)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// encodeLayer writes a disk as a stream-optimized VMDK; grains of zeros are
// left out.
func encodeLayer(w io.Writer, l *layer, name string) error {
	size := l.capacity()
	v, err := newVMDKWriter(w, size, name)
	if err != nil {
		return err
	}
	data, err := l.data()
	if err != nil {
		return err
	}
	buf := make([]byte, grainSize)
	for _, r := range align(data, grainSize, size) {
		for off := r.Offset; off < r.End(); off += grainSize {
			p := buf[:min(grainSize, size-off)]
			if err := l.read(p, off); err != nil {
				return err
			}
			if isZero(p) {
				continue
			}
			if err := v.grain(off, p); err != nil {
				return err
			}
		}
	}
	return v.close()
}

type countingReader struct {
	r io.Reader
	n int64
	s *Server
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.s.stats.nfcIn.Add(int64(n))
	return n, err
}

func (l *lease) receive(w http.ResponseWriter, r *http.Request, d *leaseDevice) {
	h := sha1.New()
	in := &countingReader{r: io.TeeReader(r.Body, h), s: l.s}
	err := l.store(bufio.NewReaderSize(in, 256<<10), d)
	if err == nil {
		_, err = io.Copy(io.Discard, in) // padding
	}
	select {
	case <-l.ended:
		err = errors.Join(err, errors.New("the lease has ended"))
	default:
	}
	l.transferred(d, err == nil, in.n, h.Sum(nil))
	if err != nil {
		err = fmt.Errorf("%s: %w", d.name, err)
		failure := refuse(&types.FileFault{File: d.layer.file.String()}, "%v", err)
		if r := (*refusal)(nil); errors.As(err, &r) {
			failure = err
		}
		l.fail(l.s.newContext(), failure)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// store decodes an upload into the disk's flat file.
func (l *lease) store(r io.Reader, d *leaseDevice) error {
	f, err := vdisk.OpenWriter(d.layer.extentPath())
	if err != nil {
		return err
	}
	size := d.layer.capacity()
	err = errors.Join(f.Truncate(0), f.Truncate(size)) // a second try starts afresh
	if err == nil {
		err = decodeVMDK(r, size, func(off int64, data []byte) error {
			if d.layer.thin {
				err := l.s.charge(d.layer.file, int64(len(data)), func() int64 { return d.layer.fresh(off, int64(len(data))) })
				if err != nil {
					return err
				}
			}
			return writeSparse(f, data, off)
		})
	}
	return errors.Join(err, f.Close())
}
