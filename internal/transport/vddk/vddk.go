// Package vddk reads and writes virtual disks with VMware's disk library,
// through nbdkit and its vddk plugin.
//
// The library is not ours to link: a fault in it would take every other
// transfer along, and its licence keeps it out of the program. So each disk
// has an nbdkit of its own, a child that speaks NBD with us over a pair of
// sockets that has no name: nobody else can connect, nothing is in the file
// system, and it closes the disk and ends when our end closes, by whatever
// means. It is killed where it does not, and if we are killed, by a watcher.
//
// The password reaches it through a pipe; it stands in no argument,
// environment, log or error. The certificate of vCenter is named to the
// library as our own connection has verified it. What a disk cannot be opened
// for is read from the child's messages, since NBD has no words for it.
//
// Writing is never done over SAN: the host would not know of blocks that it
// has cached or has yet to allocate.
package vddk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// DefaultModes are the ways to the disk, tried in order, where Options names
// none.
const DefaultModes = "san:hotadd:nbdssl:nbd"

// Options say where the library is and how it is used.
type Options struct {
	// Libdir is the folder that VDDK was unpacked to; its lib64 holds
	// libvixDiskLib.so.
	Libdir string
	// Transports are VDDK's own ways to the disk, as san:hotadd:nbdssl:nbd;
	// empty for those.
	Transports string
	Nbdkit     string // program; empty for nbdkit of the PATH
	Plugin     string // name or path; empty for vddk
	ConfigFile string // of the library; may be empty
	// Compression over the network: none, zlib, fastlz, skipz; empty is none.
	Compression string
	NFCHostPort int // of the hosts; 0 for the library's default, 902
	// ReuseSession hands the library our session with vCenter instead of a
	// password. nbdkit takes it as an argument only, where every user of the
	// machine can read it while the disk is open, and can act as us.
	ReuseSession bool
	// Patience is how long a call of the library may take; 0 for a default.
	Patience time.Duration
	Logger   *slog.Logger // nil: silent

	// Tests shorten the waits and spoil what is given to the library.
	closing, ending time.Duration
	access          func(*vsphere.Access)
}

const (
	defaultPatience = 2 * time.Minute
	// openTime bounds how long opening a disk takes: HotAdd attaches it to
	// this machine first.
	openTime = 5 * time.Minute
)

func (o Options) withDefaults() Options {
	if o.Transports == "" {
		o.Transports = DefaultModes
	}
	if o.Nbdkit == "" {
		o.Nbdkit = "nbdkit"
	}
	if o.Plugin == "" {
		o.Plugin = "vddk"
	}
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	if o.closing == 0 {
		o.closing, o.ending = min(closeTime, o.Patience), min(termTime, o.Patience)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// An Opener opens disks through one vCenter, for reading and for writing. It
// is a transport.Opener and a transport.TargetOpener.
type Opener struct {
	client *vsphere.Client
	o      Options
}

// New returns the transport through the vCenter that c is logged in to.
func New(c *vsphere.Client, o Options) *Opener { return &Opener{client: c, o: o.withDefaults()} }

// Name is "vddk".
func (o *Opener) Name() string { return "vddk" }

// Open refuses a VM of which VDDK can read no disk, and every VM where nbdkit
// or the library is not there. Nothing is started before a disk is opened.
func (o *Opener) Open(ctx context.Context, vm transport.Frozen) (transport.Session, error) {
	if vm.Snapshot == "" {
		return nil, fmt.Errorf("vddk: %s: %w: no snapshot holds the disks still", vm.VM, transport.ErrRefused)
	}
	s, err := o.open(ctx, vm.VM, vm.Disks)
	if err != nil {
		return nil, fmt.Errorf("vddk: %s: %w", vm.VM, err)
	}
	s.snapshot = vm.Snapshot
	return readSession{s}, nil
}

// OpenTarget refuses as Open does, and where san is the only way to the disks
// that the configuration allows.
func (o *Opener) OpenTarget(ctx context.Context, vm transport.Idle) (transport.TargetSession, error) {
	s, err := o.open(ctx, vm.VM, vm.Disks)
	if err != nil {
		return nil, fmt.Errorf("vddk: %s: %w", vm.VM, err)
	}
	if s.modes = WriteModes(s.modes); s.modes == "" {
		return nil, fmt.Errorf("vddk: %s: %w: disks are not written over san, and no other way is configured", vm.VM, transport.ErrRefused)
	}
	return writeSession{s}, nil
}

// WriteModes is what of a list of ways to the disk serves for writing.
func WriteModes(list string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(list, ":"), func(m string) bool { return m == "san" }), ":")
}

func (o *Opener) open(ctx context.Context, moref string, disks []transport.Disk) (*session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := o.o.installed(); err != nil {
		return nil, fmt.Errorf("%w: %w", transport.ErrRefused, err)
	}
	s := &session{opener: o, moref: moref, modes: o.o.Transports, disks: map[int32]transport.Disk{}}
	served, reason := false, errors.New("no disk can be served")
	for _, d := range disks {
		s.disks[d.Key] = d
		if why := unfit(d, s.modes); why != nil {
			reason = fmt.Errorf("%w; disk %d: %w", reason, d.Key, why)
		} else {
			served = true
		}
	}
	if !served {
		return nil, fmt.Errorf("%w: %w", transport.ErrRefused, reason)
	}
	access, err := o.client.Access(ctx)
	if err != nil {
		return nil, err
	}
	if o.o.access != nil {
		o.o.access(&access)
	}
	if access.Thumbprint == "" {
		return nil, fmt.Errorf("%w: vCenter is not reached over TLS, and the library takes no other", transport.ErrRefused)
	}
	s.access = access
	return s, nil
}

// installed says what of nbdkit and the library is not there. What of it does
// not work shows when a disk is opened.
func (o Options) installed() error {
	if o.Libdir == "" {
		return errors.New("vddk.libdir is not configured")
	}
	if _, err := exec.LookPath(o.Nbdkit); err != nil {
		return fmt.Errorf("nbdkit: %w", err)
	}
	if strings.Contains(o.Plugin, "/") {
		if _, err := os.Stat(o.Plugin); err != nil {
			return fmt.Errorf("plugin: %w", err)
		}
	}
	for _, dir := range []string{"lib64", "lib32", "."} {
		found, _ := filepath.Glob(filepath.Join(escapeGlob(o.Libdir), dir, "libvixDiskLib.so*"))
		if len(found) > 0 {
			return nil
		}
	}
	return fmt.Errorf("%s holds no lib64/libvixDiskLib.so", o.Libdir)
}

// escapeGlob makes a path stand for itself in a pattern.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// unfit says why VDDK cannot open a disk, or nil. See "Virtual Disk
// Programming Guide", restrictions of the transport methods.
func unfit(d transport.Disk, modes string) error {
	switch {
	case d.Kind == vsphere.KindRDMPhysical:
		return errors.New("it is a raw device in physical mode")
	case d.Kind == vsphere.KindOther:
		return errors.New("it is of a kind that has no snapshots")
	case d.FileName == "":
		return errors.New("its file is not known")
	case d.Capacity <= 0 || d.Capacity%sector != 0:
		return fmt.Errorf("its %d bytes are no whole sectors", d.Capacity)
	case d.Encrypted && !strings.Contains(modes, "nbdssl") && !strings.Contains(modes, "hotadd"):
		return errors.New("it is encrypted, which takes nbdssl or hotadd")
	}
	return nil
}

// A session is one VM whose disks can be opened.
type session struct {
	opener   *Opener
	access   vsphere.Access
	moref    string
	snapshot string // empty for writing
	modes    string
	disks    map[int32]transport.Disk

	mu     sync.Mutex
	open   []*disk
	closed bool
}

func (s *session) disk(ctx context.Context, key int32) (*disk, error) {
	d, ok := s.disks[key]
	if !ok {
		return nil, fmt.Errorf("vddk: disk %d: not among the VM's disks", key)
	}
	if why := unfit(d, s.modes); why != nil {
		return nil, fmt.Errorf("vddk: disk %d: %w: %w", key, transport.ErrRefused, why)
	}
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return nil, fmt.Errorf("vddk: disk %d: session is closed", key)
	}
	opened, err := s.start(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("vddk: disk %d: %w", key, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed { // meanwhile
		return nil, errors.Join(fmt.Errorf("vddk: disk %d: session is closed", key), opened.Close())
	}
	s.open = append(s.open, opened)
	return opened, nil
}

// Close ends the nbdkits that are still there, side by side.
func (s *session) Close() error {
	s.mu.Lock()
	open := s.open
	s.open, s.closed = nil, true
	s.mu.Unlock()
	errs := make([]error, len(open))
	var all sync.WaitGroup
	for i, d := range open {
		all.Go(func() { errs[i] = d.Close() })
	}
	all.Wait()
	return errors.Join(errs...)
}

type readSession struct{ *session }

// Disk returns a transport.Source.
func (s readSession) Disk(ctx context.Context, key int32) (transport.Reader, error) {
	d, err := s.disk(ctx, key)
	if err != nil {
		return nil, err
	}
	return source{d}, nil
}

type writeSession struct{ *session }

// Target opens a disk for writing.
func (s writeSession) Target(ctx context.Context, key int32) (transport.Target, error) {
	d, err := s.disk(ctx, key)
	if err != nil {
		return nil, err
	}
	return target{d}, nil
}
