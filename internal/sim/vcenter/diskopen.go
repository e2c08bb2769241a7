package vcenter

import (
	"crypto/subtle"
	"errors"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/types"
)

// connect takes the parameters of ConnectEx. The real library looks at the
// certificate and logs in when a disk is opened (nbdkit's vddk plugin has a
// comment on that); so it is here.
func (d *diskConn) connect(payload []byte) error {
	l, err := parseDiskLogin(payload)
	switch {
	case err != nil:
		return vix(vixInvalidArg, "%v", err)
	case d.login != nil:
		return vix(vixInvalidArg, "connected already")
	}
	d.login = &l
	return nil
}

// flagReadOnly is VIXDISKLIB_FLAG_OPEN_READ_ONLY.
const flagReadOnly = 4

// open opens a disk for reading or writing.
func (d *diskConn) open(path string, flags uint64) ([]byte, error) {
	l := d.login
	h := &diskHandle{p: d.p, conn: d, readOnly: l.readOnly || flags&flagReadOnly != 0}
	if l.readOnly && flags&flagReadOnly == 0 {
		return nil, vix(vixInvalidArg, "the connection is read-only")
	}
	if err := d.authenticate(h); err != nil {
		return nil, err
	}
	if err := d.find(h, path); err != nil {
		return nil, err
	}
	if err := d.transport(h); err != nil {
		return nil, err
	}
	if err := h.acquire(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.handles[h.id] = h
	d.mu.Unlock()
	return encodeOpened(h), nil
}

// authenticate checks the thumbprint and the credentials.
func (d *diskConn) authenticate(h *diskHandle) error {
	l, s := d.login, d.p.s
	if have := thumbprintOf(s.leaf); !strings.EqualFold(l.thumbprint, have) {
		return quiet(vixFail, "VixDiskLibVim: Failed to verify SSL certificate: actual thumbprint=%s expected=%s", have, l.thumbprint)
	}
	if !l.session {
		if !s.validUser(l.user, l.secret) {
			return vix(vixNoPermission, "VixDiskLibVim: Login failure. Incorrect user name or password.")
		}
		h.user = l.user
		return nil
	}
	cookie := strings.Trim(strings.TrimPrefix(l.secret, "vmware_soap_session="), `"`)
	for _, session := range s.sessions() {
		if subtle.ConstantTimeCompare([]byte(session.Key), []byte(cookie)) == 1 {
			h.user, h.session = session.UserName, session.Key
			return nil
		}
	}
	return vix(vixNoPermission, "VixDiskLibVim: Login failure. The session is not authenticated.")
}

// find looks for the disk that is to be opened.
func (d *diskConn) find(h *diskHandle, path string) error {
	l, s := d.login, d.p.s
	moref, ok := strings.CutPrefix(l.vm, "moref=")
	if !ok {
		return vix(vixInvalidArg, "VixDiskLibVim: invalid VMX spec %q", l.vm)
	}
	vs := s.state(vmRef(moref))
	if vs == nil {
		return vix(vixNoVM, "VixDiskLibVim: the virtual machine %s cannot be found", moref)
	}
	if err := s.touchVM(vs); err != nil {
		return err
	}
	h.vs = vs
	privilege := "VirtualMachine.Provisioning.DiskRandomRead"
	if !h.readOnly {
		privilege = "VirtualMachine.Provisioning.DiskRandomAccess"
	}
	if err := s.allowed(s.newContext(), h.user, need{privilege, vs.ref}); err != nil {
		return vix(vixNoPermission, "VixDiskLibVim: %v", err)
	}
	p, err := parseDS(path)
	if err != nil {
		return vix(vixInvalidArg, "%v", err)
	}
	if l.snapshot != "" {
		ref := types.ManagedObjectReference{Type: "VirtualMachineSnapshot", Value: l.snapshot}
		h.snapshot = &ref
	}
	vs.io.RLock()
	defer vs.io.RUnlock()
	return h.locate(p)
}

// locate finds the disk among those of the VM or the snapshot; io is held.
func (h *diskHandle) locate(p dsPath) error {
	vs := h.vs
	if h.snapshot != nil {
		n := vs.snaps[*h.snapshot]
		if n == nil {
			return vix(vixNoSnapshot, "VixDiskLibVim: the snapshot %s cannot be found", h.snapshot.Value)
		}
		for key, f := range n.disks {
			if f.layer.file == p {
				h.take(key, f.layer, f.device)
				return nil
			}
		}
	} else {
		for key, disk := range vs.disks {
			if disk.top.file == p {
				h.take(key, disk.top, disk.device)
				return nil
			}
		}
	}
	return vix(vixNotFound, "VixDiskLibVim: the virtual machine %s has no disk %s", vs.ref.Value, p)
}

func (h *diskHandle) take(key int32, l *layer, device *types.VirtualDisk) {
	h.key, h.layer, h.size = key, l, l.capacity()
	if b, ok := device.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
		h.encrypted = b.KeyId != nil
	}
}

// transport chooses the first of the transports asked for that works here:
// this machine is no virtual one, and sees no LUNs.
func (d *diskConn) transport(h *diskHandle) error {
	asked := d.login.transports
	if asked == "" {
		asked = "file:san:hotadd:nbdssl:nbd"
	}
	modes := strings.Split(asked, ":")
	for _, mode := range modes {
		if !slices.Contains([]string{"file", "san", "hotadd", "nbdssl", "nbd"}, mode) {
			return vix(vixInvalidArg, "VixDiskLib: unknown transport mode %q", mode)
		}
	}
	for _, mode := range modes {
		if mode == "nbdssl" || mode == "nbd" && !h.encrypted {
			h.transport = mode
			return nil
		}
	}
	return vix(vixDiskInvalid, "VixDiskLib: no transport mode of %q can open disk %s", asked, h.layer.file)
}

// acquire takes the disk's lock.
func (h *diskHandle) acquire() error {
	vs, p := h.vs, h.p
	vs.io.RLock()
	defer vs.io.RUnlock()
	busy := func(why string) error {
		return vix(vixLocked, "DISKLIB-LINK: failed to open %s: %s", h.layer.file, why)
	}
	switch {
	case vs.gone:
		return vix(vixNoVM, "the virtual machine %s was deleted", vs.ref.Value)
	case h.snapshot == nil && vs.on:
		return busy("the virtual machine runs")
	case !h.readOnly && (h.snapshot != nil || len(vs.snaps) > 0):
		return busy("snapshots hang from it")
	case !h.readOnly && len(vs.held) > 0:
		return busy("an NFC lease holds it")
	}
	if err := p.lock(h); err != nil {
		return busy(err.Error())
	}
	return nil
}

// lock notes the handle, unless another one is in its way.
func (p *diskPort) lock(h *diskHandle) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for o := range p.handles {
		if o.layer == h.layer && !(o.readOnly && h.readOnly) {
			return errors.New("it is open already")
		}
	}
	p.last++
	h.id = p.last
	p.handles[h] = true
	return nil
}
