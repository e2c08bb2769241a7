package vcenter

import (
	"crypto/subtle"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/vim25/soap"
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

// open opens a disk for reading or writing. A capacity is that which a rule
// wants the client to be told.
func (d *diskConn) open(path string, flags uint64, capacity int64) ([]byte, error) {
	l := d.login
	h := &diskHandle{p: d.p, conn: d, path: path, readOnly: flags&flagReadOnly != 0}
	if l.readOnly && !h.readOnly {
		return nil, vix(vixInvalidArg, "the connection is read-only")
	}
	if err := d.authenticate(); err != nil {
		return nil, err
	}
	if err := d.find(h); err != nil {
		return nil, err
	}
	if err := d.mayOpen(h); err != nil {
		return nil, err
	}
	if err := d.transport(h); err != nil {
		return nil, err
	}
	if err := h.acquire(); err != nil {
		return nil, err
	}
	if capacity > 0 {
		h.size = capacity
	}
	d.mu.Lock()
	d.handles[h.id] = h
	d.mu.Unlock()
	return encodeOpened(h), nil
}

// authenticate checks the thumbprint and the credentials. With a password
// VDDK logs in, which takes a session of vCenter's.
func (d *diskConn) authenticate() error {
	l, s := d.login, d.p.s
	if have := thumbprintOf(s.leaf); !strings.EqualFold(l.thumbprint, have) {
		return quiet(vixFail, "VixDiskLibVim: Failed to verify SSL certificate: actual thumbprint=%s expected=%s", have, l.thumbprint)
	}
	if d.loggedIn() {
		return nil
	}
	user, key := l.user, uuid.NewString()
	if l.session {
		user, key = s.sessionOf(l.secret)
		if key == "" {
			return vix(vixNoPermission, "VixDiskLibVim: Login failure. The session is not authenticated.")
		}
	} else if !s.validUser(l.user, l.secret) {
		return vix(vixNoPermission, "VixDiskLibVim: Login failure. Incorrect user name or password.")
	} else if most := s.cfg.MaxSessions; most > 0 && s.Sessions("") >= most {
		return vix(vixRefused, "VixDiskLibVim: Login failure. 503 Service Unavailable.")
	}
	d.p.mu.Lock()
	defer d.p.mu.Unlock()
	d.user, d.session, d.own = user, key, !l.session
	return nil
}

// sessionOf is the session that a cookie, or its value, stands for; its key is
// empty without one.
func (s *Server) sessionOf(cookie string) (user, key string) {
	cookie = strings.Trim(strings.TrimPrefix(cookie, soap.SessionCookieName+"="), `"`)
	for _, session := range s.sessions() {
		if subtle.ConstantTimeCompare([]byte(session.Key), []byte(cookie)) == 1 {
			return session.UserName, session.Key
		}
	}
	return "", ""
}

// vm is the VM that the connection is for.
func (d *diskConn) vm() (*vmState, error) {
	if d.login == nil {
		return nil, vix(vixInvalidArg, "not connected")
	}
	moref, ok := strings.CutPrefix(d.login.vm, "moref=")
	if !ok {
		return nil, vix(vixInvalidArg, "VixDiskLibVim: invalid VMX spec %q", d.login.vm)
	}
	vs := d.p.s.state(vmRef(moref))
	if vs == nil {
		return nil, vix(vixNoVM, "VixDiskLibVim: the virtual machine %s cannot be found", moref)
	}
	return vs, d.p.s.touchVM(vs)
}

// find looks for the disk that is to be opened.
func (d *diskConn) find(h *diskHandle) error {
	s := d.p.s
	vs, err := d.vm()
	if err != nil {
		return err
	}
	h.vs, h.vmName, h.server = vs, s.nameOfVM(vs.ref.Value), d.server(vs)
	h.host = s.hostOf(s.newContext(), vs.ref)
	p, err := parseDS(h.path)
	if err != nil {
		return vix(vixInvalidArg, "%v", err)
	}
	if d.login.snapshot != "" {
		ref := types.ManagedObjectReference{Type: "VirtualMachineSnapshot", Value: d.login.snapshot}
		h.snapshot = &ref
	}
	vs.io.RLock()
	defer vs.io.RUnlock()
	return h.locate(p)
}

// mayOpen checks the user's privileges ("Credentials and Privileges for VMDK
// Access" and, of encrypted disks, "Backup and Restore of Encrypted VMs",
// VDDK Programming Guide).
func (d *diskConn) mayOpen(h *diskHandle) error {
	s := d.p.s
	root := s.model.ServiceContent.RootFolder
	needs := []need{{"VirtualMachine.Provisioning.DiskRandomAccess", h.vs.ref}}
	if h.readOnly {
		needs = []need{{"VirtualMachine.Provisioning.DiskRandomRead", h.vs.ref}, {"VirtualMachine.Provisioning.GetVmFiles", h.vs.ref}}
	}
	if h.encrypted {
		needs = append(needs, need{"Cryptographer.Access", h.vs.ref})
	}
	ctx := s.newContext()
	if err := s.allowed(ctx, d.user, needs...); err != nil {
		return vix(vixNoPermission, "VixDiskLibVim: %v", err)
	}
	// "The returned error message is somewhat misleading", says the guide.
	if err := s.allowed(ctx, d.user, need{"Global.DisableMethods", root}, need{"Global.EnableMethods", root}); err != nil {
		return vix(vixNoLicense, "VixDiskLibVim: %v", err)
	}
	return nil
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
		return failedToLock(h.layer, why)
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
	return p.lock(h)
}

func failedToLock(l *layer, why string) error {
	return vix(vixLocked, "DISKLIB-LINK: %s: Failed to lock the file (16392): %s", l.file, why)
}

// lock notes the handle, unless others are in its way.
func (p *diskPort) lock(h *diskHandle) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	here := 0
	for o := range p.handles {
		if o.layer == h.layer && !(o.readOnly && h.readOnly) {
			return failedToLock(h.layer, "it is open already")
		}
		if o.host == h.host {
			here++
		}
	}
	if here >= p.s.cfg.HostDisks {
		return vix(vixNoMemory, "[NFC ERROR] NfcFssrvrProcessErrorMsg: received NFC error 5 from server: Failed to allocate the requested %d bytes", 1<<20)
	}
	if len(p.handles) >= p.s.cfg.OpenDisks {
		return vix(vixRefused, "[NFC ERROR] NfcNewAuthdConnectionEx: Failed to connect to peer: too many connections")
	}
	p.last++
	h.id = p.last
	p.handles[h] = true
	return nil
}
