package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/transport/vddk"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// What a Check came to.
const (
	CheckOK   = "ok"
	CheckWarn = "warn" // it works without, but worse
	CheckFail = "fail"
)

// A Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	Status string `json:"status"` // ok, warn, fail
	Detail string `json:"detail"`
	Advice string `json:"advice,omitempty"`
}

// mostSkew is how far a clock may be from ours: tickets of vCenter and
// certificates are good for minutes, leases end by vCD's clock, and restore
// points are named by time.
const mostSkew = time.Minute

// A doctor looks at one thing after the other.
type doctor struct {
	*App
	checks []Check
}

func (d *doctor) add(name, status, advice, format string, args ...any) {
	c := Check{Name: name, Status: status, Detail: fmt.Sprintf(format, args...)}
	if status != CheckOK {
		c.Advice = advice
	}
	d.checks = append(d.checks, c)
}

// found adds a check that is ok without an error.
func (d *doctor) found(name string, err error, advice, format string, args ...any) bool {
	if err != nil {
		d.add(name, CheckFail, advice, "%v", err)
		return false
	}
	d.add(name, CheckOK, "", format, args...)
	return true
}

// Doctor looks at everything that backups and restores need. It makes the
// state folder and the journal if they are not there; the files that it writes
// on trial, there and in the repository's folder, are gone when it is.
func (a *App) Doctor(ctx context.Context) []Check {
	d := &doctor{App: a}
	d.add("configuration", CheckOK, "", "%s", a.Config.Path())
	d.repository(ctx)
	for _, conf := range a.Config.Sites {
		if ctx.Err() == nil {
			d.site(ctx, conf)
		}
	}
	d.transports(ctx)
	if err := ctx.Err(); err != nil {
		d.add("doctor", CheckFail, "", "%v", err)
	}
	return d.checks
}

func (d *doctor) repository(ctx context.Context) {
	id, err := repository.Identify(d.location())
	if !d.found("repository", err, "make one with `vappvault init`, or mount the folder", "%s", d.Config.Repository.URL) {
		return
	}
	state, err := d.Config.StateFolder(id)
	if err == nil {
		err = os.MkdirAll(state, 0o700)
	}
	if err == nil {
		err = repository.TryWrite(state)
	}
	d.found("state folder", err, "set stateDir to a local folder that this user may write to", "%s", state)
	err = repository.TryWrite(d.location().Path)
	d.found("repository folder", err, "mount it for writing, or make room: backups cannot be stored", "takes files")
	_, err = d.openRepository(ctx)
	if !d.found("repository password", err, "check passwordFile, passwordEnv or passwordCommand of the repository", "opens it") {
		return
	}
	advice := "let this user read and write it, on a local folder with room; or set stateDir to another"
	_, _, err = d.open(ctx)
	switch {
	case errors.Is(err, journal.ErrDamaged):
		advice = "move the file away, then let `vappvault reconcile` find what is left to settle"
	case errors.Is(err, journal.ErrNewer):
		advice = "use the newer vappvault that wrote it"
	}
	d.found("journal", err, advice, "opens")
}

func (d *doctor) site(ctx context.Context, conf config.Site) {
	name := "site " + conf.ID
	var servers []vcd.VimServer
	s, err := d.App.site(ctx, conf.ID)
	if d.found(name, err, "check url, ca or fingerprint, user and password", "%s as %s", conf.URL, conf.User) {
		servers = d.vcd(ctx, name, s)
	}
	known := map[string]bool{}
	for _, v := range conf.VCenters {
		if ctx.Err() != nil {
			return
		}
		known[d.vcenter(ctx, v, servers)] = true
	}
	for _, server := range servers {
		if !known[server.UUID] {
			d.add(name, CheckWarn, "add it to vcenters if vApps live there", "vCenter %s (%s) of this vCD is not configured or not reached", server.Name, server.URL)
		}
	}
}

// vcd looks at a vCD that was reached, and returns the vCenters that it knows.
func (d *doctor) vcd(ctx context.Context, name string, s *site) (servers []vcd.VimServer) {
	var err error
	if s.vcd.Provider() {
		servers, err = s.vcd.VimServers(ctx)
	} else {
		err = errors.New("the user is no system administrator")
	}
	d.found(name+" rights", err, "use an account of the System organization; doc/privileges.md", "system administrator, API %s", s.vcd.APIVersion())
	now, err := s.vcd.Now(ctx)
	d.clock(name, now, err)
	return servers
}

// clock compares the time that somebody has just told with ours.
func (d *doctor) clock(name string, now time.Time, err error) {
	name += " clock"
	if skew := time.Until(now).Round(time.Second); err == nil && skew.Abs() > mostSkew {
		which := "ahead of"
		if skew < 0 {
			which = "behind"
		}
		d.add(name, CheckWarn, "let both follow the same NTP servers: leases, tokens and certificates go by it", "%s %s this machine's", skew.Abs(), which)
		return
	}
	d.found(name, err, "", "within %s of this machine's", mostSkew)
}

// Privileges of doc/privileges.md, by what lacks without them.
var (
	backupPrivileges = []string{
		"VirtualMachine.State.CreateSnapshot", "VirtualMachine.State.RemoveSnapshot", "VirtualMachine.Config.ChangeTracking",
		"VirtualMachine.Provisioning.DiskRandomRead", "Datastore.FileManagement", "VApp.Export", "Global.DisableMethods", "Global.EnableMethods",
	}
	restorePrivileges = []string{
		"Folder.Create", "VApp.Import", "Datastore.AllocateSpace", "VirtualMachine.Inventory.Delete",
		"VirtualMachine.Config.RemoveDisk", "VirtualMachine.Config.AddExistingDisk", "VirtualMachine.Config.AddRemoveDevice",
		"VirtualMachine.Config.Settings", "VirtualMachine.Config.AdvancedConfig", "StorageProfile.View",
	}
	vddkPrivileges = []string{
		"VirtualMachine.Provisioning.GetVmFiles", "VirtualMachine.Provisioning.DiskRandomAccess", "VirtualMachine.Inventory.Create", "VirtualMachine.Config.AddNewDisk", "Resource.AssignVMToPool",
	}
)

// vcenter looks at one vCenter and returns its instance UUID.
func (d *doctor) vcenter(ctx context.Context, conf config.Server, servers []vcd.VimServer) string {
	name := "vCenter " + conf.URL
	password, err := conf.Password.Read(ctx)
	var c *vsphere.Client
	if err == nil {
		c, err = vsphere.Connect(ctx, vsphere.Options{
			URL: conf.URL, User: conf.User, Password: password, Logger: d.Logger, TLS: vsphere.TLS{CAFile: conf.CA, Fingerprint: conf.Fingerprint},
		})
	}
	if err != nil {
		d.add(name, CheckFail, "check url, ca or fingerprint, user and password", "%v", err)
		return ""
	}
	defer func() { _ = c.Close(ctx) }() // it only looked
	uuid := c.InstanceUUID()
	if slices.ContainsFunc(servers, func(s vcd.VimServer) bool { return s.UUID == uuid }) || len(servers) == 0 {
		d.add(name, CheckOK, "", "%s as %s", c.Version(), conf.User)
	} else {
		d.add(name, CheckWarn, "remove it, or move it to the site that it belongs to", "the site's vCD does not know this vCenter")
	}
	d.privileges(ctx, name, c)
	now, err := c.Now(ctx)
	d.clock(name, now, err)
	d.hosts(ctx, name, c)
	return uuid
}

func (d *doctor) privileges(ctx context.Context, name string, c *vsphere.Client) {
	groups := []struct {
		what, status string
		wanted       []string
	}{{"backup", CheckFail, backupPrivileges}, {"restore", CheckFail, restorePrivileges}}
	if slices.Contains(d.Config.Transports, "vddk") {
		groups = append(groups, struct {
			what, status string
			wanted       []string
		}{"reading and writing through vddk", CheckWarn, vddkPrivileges})
	}
	for _, g := range groups {
		lacking, err := c.Lacking(ctx, g.wanted)
		switch {
		case err != nil:
			d.add(name+" privileges", CheckWarn, "doc/privileges.md lists what is needed", "%v", err)
		case len(lacking) > 0:
			d.add(name+" privileges", g.status, "add them to the account's role at the root folder; doc/privileges.md", "%s lacks %s", g.what, strings.Join(lacking, ", "))
		default:
			d.add(name+" privileges", CheckOK, "", "all for %s", g.what)
		}
	}
}

// transports looks at what disks are read and written through.
func (d *doctor) transports(ctx context.Context) {
	d.add("transports", CheckOK, "", "%s", strings.Join(d.Config.Transports, ", "))
	if !slices.Contains(d.Config.Transports, "vddk") {
		d.add("vddk", CheckWarn, "doc/vddk.md: it reads faster, also from vSAN and vVol, and writes into disks that are there", "not configured")
		return
	}
	p, err := vddk.Look(ctx, d.vddk())
	if p.Nbdkit != "" {
		d.add("nbdkit", CheckOK, "", "version %s", p.Nbdkit)
	}
	if !d.found("vddk", err, "doc/vddk.md: install nbdkit and its vddk plugin, unpack VDDK, set vddk.libdir", "library version %s, %s", p.Library, p.File) {
		return
	}
	if !p.Extents {
		d.add("vddk extents", CheckWarn, "use VDDK 6.7 or newer", "this version does not tell which blocks are allocated")
	}
	reach := vddk.Reach()
	usable := 0
	for mode := range strings.SplitSeq(d.Config.VDDK.Transports, ":") {
		why := reach[mode]
		if !slices.Contains(p.Modes, mode) {
			why = "the library does not have it"
		}
		if why != "" {
			d.add("vddk "+mode, CheckWarn, "leave it out of vddk.transports, or doc/vddk.md: what it needs", "not from here: %s", why)
			continue
		}
		usable++
		d.add("vddk "+mode, CheckOK, "", "%s", map[string]string{
			"san": "could be used for reading, if the LUNs are zoned to this machine", "hotadd": "could be used, if this VM sees the datastores",
		}[mode]+map[bool]string{true: fmt.Sprintf("could be used; hosts must be reached at port %d", d.Config.VDDK.NFCHostPort)}[strings.HasPrefix(mode, "nbd")])
	}
	if usable == 0 {
		d.add("vddk", CheckFail, "add nbdssl to vddk.transports", "none of its ways to a disk can be used from here")
	}
	if d.Config.VDDK.ReuseSession {
		d.add("vddk session", CheckWarn, "set vddk.reuseSession: false", "users of this machine can read the vCenter session from nbdkit's arguments")
	}
	if f := d.Config.VDDK.ConfigFile; f != "" {
		_, err := os.Stat(filepath.Clean(f))
		d.found("vddk configuration", err, "correct vddk.configFile", "%s", f)
	}
}
