package director

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vmware/govmomi/nfc"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// The files that a vApp or a template has for download beside its disks (API
// programming guide, "Enable a vApp or vApp Template for Download"): descriptors
// without and with what makes the original unique, each also as a package in
// one file.
const (
	identityName = "descriptor-with-id.ovf"
	ovaName      = "descriptor.ova"
	identityOVA  = "descriptor-with-id.ova"
)

// downloadOf is a download that has not expired.
func (s *Server) downloadOf(t *transfer) *transfer {
	if t == nil || time.Since(t.touched) > t.deadline || !t.whole() {
		return nil
	}
	return t
}

// downloadLinks are those of an entity that is enabled for download.
func (s *Server) downloadLinks(t *transfer, href string) []*node {
	out := []*node{link("enable", href+"/action/enableDownload", ""), link("disable", href+"/action/disableDownload", "")}
	if t = s.downloadOf(t); t == nil {
		return out
	}
	for _, l := range [][2]string{{"download:default", descriptorName}, {"download:identity", identityName}, {"download:ovaDefault", ovaName}, {"download:ovaIdentity", identityOVA}} {
		typ := "text/xml"
		if strings.HasPrefix(l[0], "download:ova") {
			typ = "application/binary" // what pyvcloud looks for
		}
		out = append(out, link(l[0], s.href("/transfer/"+t.id+"/"+l[1]), typ))
	}
	return out
}

// enableDownload puts a vApp or a template into the transfer spool.
func (c *call) enableDownload() (*answer, error) {
	a, err := c.onlyVApp(c.change(accessRead))
	if err != nil {
		return nil, err
	}
	if err := c.usable(a); err != nil {
		return nil, err
	}
	if err := c.refresh(a.vms...); err != nil {
		return nil, err
	}
	if err := c.mayChange(a, nil, accessRead); err != nil {
		return nil, err
	}
	if err := c.stopped(a); err != nil {
		return nil, err
	}
	t := c.newTransfer(false)
	return c.accepted(c.start("vdcEnableDownload", "Enabling download of", vappOwner(a), func(ctx context.Context) error {
		err := c.export(ctx, a, t)
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		if err != nil {
			c.s.endTransfer(t)
			return err
		}
		c.s.endTransfer(a.download)
		a.download, t.touched = t, time.Now()
		return nil
	})), nil
}

// stopped refuses a vApp that is deployed or not off.
func (c *call) stopped(a *vapp) error {
	if a.template != nil {
		return nil
	}
	if a.deployed || slices.ContainsFunc(a.vms, func(m *vm) bool { return m.state() != stateOff }) {
		return invalidState("The requested operation could not be executed on vApp %q. Stop the vApp and try again.", a.name)
	}
	return nil
}

func (c *call) disableDownload() (*answer, error) {
	a, err := c.onlyVApp(c.change(accessRead))
	if err != nil {
		return nil, err
	}
	c.s.endTransfer(a.download)
	a.download = nil
	return noContent(), nil
}

// getOVF is the descriptor by itself.
func (c *call) getOVF() (*answer, error) {
	a, err := c.onlyVApp(c.target())
	if err != nil {
		return nil, err
	}
	if err := c.refresh(a.vms...); err != nil {
		return nil, err
	}
	if err := errors.Join(c.usable(a), c.stopped(a)); err != nil {
		return nil, err
	}
	e, err := c.envelope(a, c.s.downloadOf(a.download), false)
	if err != nil {
		return nil, err
	}
	text, err := e.Marshal()
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, typ: "text/xml", plain: string(text)}, nil
}

// export fills a download.
func (c *call) export(ctx context.Context, a *vapp, t *transfer) error {
	s := c.s
	dir, err := s.spool.folder(t)
	if err != nil {
		return err
	}
	s.mu.Lock()
	vms := slices.Clone(a.vms)
	s.mu.Unlock()
	for _, m := range vms {
		files, err := s.exportVM(ctx, m, dir)
		if err != nil {
			return fmt.Errorf("VM %s: %w", m.name, err)
		}
		s.mu.Lock()
		t.files, t.touched = append(t.files, files...), time.Now()
		s.mu.Unlock()
	}
	for _, d := range []struct {
		name, ova string
		identity  bool
	}{{descriptorName, ovaName, false}, {identityName, identityOVA, true}} {
		s.mu.Lock()
		e, err := c.envelope(a, t, d.identity)
		s.mu.Unlock()
		if err != nil {
			return err
		}
		text, err := e.Marshal()
		if err != nil {
			return err
		}
		f := &transferFile{name: d.name, size: int64(len(text)), got: int64(len(text)), path: filepath.Join(dir, d.name), done: true}
		if err := os.WriteFile(f.path, text, 0o600); err != nil {
			return err
		}
		s.mu.Lock()
		t.files = append(t.files, f, &transferFile{name: d.ova, size: -1, path: f.path, done: true})
		s.mu.Unlock()
	}
	return nil
}

// diskFile is the name of a VM's disk in a package.
func diskFile(m *vm, n int) string { return "vm-" + m.id + "-disk-" + strconv.Itoa(n) + ".vmdk" }

// exportVM reads a VM's disks out of vCenter, as vCenter compresses them.
func (s *Server) exportVM(ctx context.Context, m *vm, dir string) ([]*transferFile, error) {
	s.mu.Lock()
	slots := m.slots()
	s.mu.Unlock()
	if len(slots) == 0 {
		return nil, nil
	}
	obj, err := m.vc.vm(ctx, m.moref)
	if err != nil {
		return nil, err
	}
	lease, err := obj.Export(ctx)
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	info, err := lease.Wait(ctx, nil)
	if err != nil {
		return nil, abandon(ctx, lease, fmt.Errorf("export: %w", err))
	}
	updater := lease.StartUpdater(ctx, info)
	files, err := readDisks(ctx, lease, info, m, slots, dir)
	updater.Done()
	if err != nil {
		return nil, abandon(ctx, lease, err)
	}
	return files, lease.Complete(ctx)
}

func readDisks(ctx context.Context, lease *nfc.Lease, info *nfc.LeaseInfo, m *vm, slots map[string]int, dir string) ([]*transferFile, error) {
	var files []*transferFile
	for i, dev := range info.DeviceUrl {
		if dev.Disk == nil || !*dev.Disk {
			continue
		}
		n, known := slots[dev.Key[strings.LastIndex(dev.Key, "/")+1:]]
		if !known {
			return nil, fmt.Errorf("export: vCenter has a disk %s that the VM does not have", dev.Key)
		}
		f := &transferFile{name: diskFile(m, n), path: filepath.Join(dir, diskFile(m, n)), done: true}
		if err := lease.DownloadFile(ctx, f.path, info.Items[i], soap.Download{}); err != nil {
			return nil, fmt.Errorf("export: %s: %w", dev.Key, err)
		}
		fi, err := os.Stat(f.path)
		if err != nil {
			return nil, err
		}
		f.size, f.got = fi.Size(), fi.Size()
		files = append(files, f)
	}
	if len(files) != len(slots) {
		return nil, fmt.Errorf("export: vCenter has %d disks, the VM %d", len(files), len(slots))
	}
	return files, nil
}

// slots are the numbers of a VM's disks by their places, as leases name them.
func (m *vm) slots() map[string]int {
	out := map[string]int{}
	if m.facts == nil {
		return out
	}
	for n, d := range m.orderedDisks() {
		out[slotOf(m.facts, d)] = n
	}
	return out
}

func (m *vm) orderedDisks() []*types.VirtualDisk {
	disks := m.facts.disks()
	sortBy(disks, func(a, b *types.VirtualDisk) bool { return a.Key < b.Key })
	return disks
}

func slotOf(f *facts, d *types.VirtualDisk) string {
	kind, bus, unit := "", int32(0), int32(0)
	for _, dev := range f.devices() {
		if k, is := dev.(types.BaseVirtualController); is && dev.GetVirtualDevice().Key == d.ControllerKey {
			kind, bus = strings.TrimPrefix(fmt.Sprintf("%T", dev), "*types."), k.GetVirtualController().BusNumber
		}
	}
	if d.UnitNumber != nil {
		unit = *d.UnitNumber
	}
	return fmt.Sprintf("%s%d:%d", kind, bus, unit)
}

// sendOVA writes a package in one file, descriptor first (DSP0243, 5.3).
func (c *call) sendOVA(w http.ResponseWriter, t *transfer, f *transferFile) error {
	s := c.s
	s.mu.Lock()
	var files []transferFile
	for _, other := range t.files {
		if other.path == f.path && other != f || strings.HasSuffix(other.name, ".vmdk") {
			files = append(files, *other)
		}
	}
	s.mu.Unlock()
	slices.SortStableFunc(files, func(a, b transferFile) int {
		return boolOrder(strings.HasSuffix(a.name, ".ovf"), strings.HasSuffix(b.name, ".ovf"))
	})
	w.Header().Set("Content-Type", "application/x-tar")
	if c.r.Method == http.MethodHead {
		return nil
	}
	out := tar.NewWriter(w)
	for _, f := range files {
		if err := tarFile(out, f); err != nil {
			return &alreadySent{err}
		}
	}
	if err := out.Close(); err != nil {
		return &alreadySent{err}
	}
	return nil
}

// boolOrder sorts what is true to the front.
func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func tarFile(out *tar.Writer, f transferFile) error {
	in, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := out.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: f.size, Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return err
}

// enableMedia puts an image into the transfer spool.
func (c *call) enableMedia() (*answer, error) {
	m, err := c.changeMedia(accessRead)
	if err != nil {
		return nil, err
	}
	if m.status != stateResolved {
		return nil, invalidState("The media %q is not ready.", m.name)
	}
	t := c.newTransfer(false)
	return c.accepted(c.start("vdcEnableDownload", "Enabling download of", mediaOwner(m), func(ctx context.Context) error {
		f, err := c.s.spoolMedia(ctx, m, t)
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		if err != nil {
			c.s.endTransfer(t)
			return err
		}
		c.s.endTransfer(m.download)
		t.files, t.touched, m.download = []*transferFile{f}, time.Now(), t
		return nil
	})), nil
}

func (s *Server) spoolMedia(ctx context.Context, m *media, t *transfer) (*transferFile, error) {
	s.mu.Lock()
	vc, file := s.vdcs[m.vdc].vc, m.file
	s.mu.Unlock()
	dir, err := s.spool.folder(t)
	if err != nil {
		return nil, err
	}
	in, _, err := vc.openFile(ctx, file)
	if err != nil {
		return nil, err
	}
	f := &transferFile{name: "file", path: filepath.Join(dir, "file"), done: true}
	out, err := os.OpenFile(f.path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	f.size, err = io.Copy(out, in)
	f.got = f.size
	return f, errors.Join(err, out.Close(), in.Close())
}

func (c *call) disableMedia() (*answer, error) {
	m, err := c.changeMedia(accessRead)
	if err != nil {
		return nil, err
	}
	c.s.endTransfer(m.download)
	m.download = nil
	return noContent(), nil
}
