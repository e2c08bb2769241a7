package cloud

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/vappvault/vappvault/internal/sim/director"
	"github.com/vappvault/vappvault/internal/sim/fault"
	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

// Options says what to start.
type Options struct {
	// Inventory is what a new cloud holds; nil is the default one. For a
	// directory that keeps a cloud it must be the one that this was made
	// from, or nil.
	Inventory *Inventory
	// Dir is where the cloud is kept: disks, in
	// datastores/SITE/VCENTER/DATASTORE, and all that a later start with this
	// directory goes on with.
	Dir string
	// Fresh removes the cloud that Dir keeps and starts a new one.
	Fresh bool
	// Listen is the address of the first site's vCD; the other servers
	// take ports of the same host. Default 127.0.0.1:0. A port 0 is the one
	// of the start before, where it is free.
	Listen string
	// Recorder, when set, is handed each exchange with a vCD, from many
	// goroutines.
	Recorder func(director.Exchange)
	// Faults holds the rules and the log of calls; a fresh one when nil.
	Faults *fault.Set
	// Trouble is told, in a line, what the operator should know: that what
	// changes is not saved, and that it is again. Standard error when nil.
	Trouble func(string)
	// VDDKLibrary is the folder of a libvixDiskLib that WriteConfig lets
	// vappvault use, and VDDKPlugin nbdkit's plugin for it, by default the
	// one that is installed. Without a library there is no word of VDDK.
	VDDKLibrary, VDDKPlugin string
}

// A Cloud is a running one. Its methods may be called concurrently.
type Cloud struct {
	inventory *Inventory
	source    [sha256.Size]byte // of the inventory that it was made from
	dir       string
	host      string // that servers listen on
	ca        *authority
	sites     []*site
	faults    *fault.Set
	restored  bool              // from an earlier start
	killed    bool              // was that, or it could not save itself
	whole     bool              // what is kept goes together
	before    map[string]string // addresses of the start before
	addresses map[string]string // by SITE and SITE/VCENTER, and that of diskPort
	disks     *vcenter.DiskListener
	vddk      configVDDK
	moved     map[string]string // see Moved

	trouble *trouble           // with saving
	unlock  func() error       // of the directory
	stop    context.CancelFunc // of what runs in the background
	work    sync.WaitGroup
}

// A site is a running vCD with its vCenters.
type site struct {
	spec     *Site
	director *director.Server
	vcenters []*runningVCenter
}

type runningVCenter struct {
	spec   *VCenter
	dir    string // of the datastores' folders
	faults *fault.Set
	server *vcenter.Server
}

// Start makes what the inventory describes, or goes on with what Dir keeps, and
// returns when it answers. The error is ErrAnotherCloud where Dir keeps one of
// another inventory, and ErrBusy where one runs in it, or starts, in this process
// or in another one.
func Start(o Options) (*Cloud, error) {
	host, _, err := net.SplitHostPort(cmp.Or(o.Listen, "127.0.0.1:0"))
	if err != nil {
		return nil, fmt.Errorf("cloud: address to listen on: %w", err)
	}
	unlock, err := lock(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("cloud: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &Cloud{dir: o.Dir, host: host, addresses: map[string]string{}, moved: map[string]string{}, trouble: newTrouble(o.Trouble), unlock: unlock, stop: stop,
		vddk: configVDDK{LibDir: o.VDDKLibrary, Plugin: o.VDDKPlugin}}
	if err := c.start(o); err != nil {
		return nil, errors.Join(fmt.Errorf("cloud: %w", err), c.end())
	}
	c.work.Add(1)
	go c.saveAlways(ctx)
	return c, nil
}

func (c *Cloud) start(o Options) error {
	if err := c.open(o); err != nil {
		return err
	}
	c.killed = c.restored && wasRunning(c.dir)
	if err := markRunning(c.dir, true); err != nil {
		return err
	}
	if c.faults = o.Faults; c.faults == nil {
		c.faults = fault.New(1)
	}
	var err error
	if c.ca, err = keptAuthority(filepath.Join(stateDir(c.dir), "tls", "ca.pem")); err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	c.faults.SignWith(c.ca.cert, c.ca.key)
	c.faults.Know(knownNames)
	if c.disks, err = vcenter.ListenDisks(c.listen(diskPort, net.JoinHostPort(c.host, "0"))); err != nil {
		return err
	}
	c.addresses[diskPort] = c.disks.Addr().String()
	for i := range c.inventory.Sites {
		listen := o.Listen
		if i > 0 || listen == "" {
			listen = net.JoinHostPort(c.host, "0")
		}
		if err := c.startSite(&c.inventory.Sites[i], listen, o.Recorder); err != nil {
			return fmt.Errorf("site %s: %w", c.inventory.Sites[i].ID, err)
		}
	}
	if err := errors.Join(c.saveAll(), c.writeState()); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	c.whole = true
	return nil
}

// diskPort is the name of the port at which all hosts serve blocks of disks.
// No site can be called so.
const diskPort = "disk port"

// DiskPort is where all hosts serve blocks of disks to the double of VDDK.
func (c *Cloud) DiskPort() (host string, port int) {
	host, text, _ := net.SplitHostPort(c.addresses[diskPort])
	port, _ = strconv.Atoi(text)
	return host, port
}

// Restored tells whether the cloud goes on from an earlier start.
func (c *Cloud) Restored() bool { return c.restored }

// Moved are the former addresses, HOST:PORT, of the servers (SITE, SITE/VCENTER)
// that have others now since somebody took these.
func (c *Cloud) Moved() map[string]string { return c.moved }

// Close saves the cloud and ends all servers. A later Start with its directory
// goes on with it.
func (c *Cloud) Close() error {
	if err := c.end(); err != nil {
		return fmt.Errorf("cloud: %w", err)
	}
	return nil
}

func (c *Cloud) end() error {
	c.stop()
	c.work.Wait()
	var problems []error
	for _, s := range c.sites {
		if s.director != nil {
			problems = append(problems, s.director.Close())
		}
		for _, vc := range s.vcenters {
			problems = append(problems, vc.server.Save(), vc.server.Close())
		}
	}
	if c.disks != nil {
		problems = append(problems, c.disks.Close())
	}
	err := errors.Join(problems...)
	if err == nil && c.whole {
		err = markRunning(c.dir, false)
		c.whole = false // what comes next is another start's
	}
	return errors.Join(err, c.unlock())
}

// Director is the first site's vCD.
func (c *Cloud) Director() *director.Server { return c.sites[0].director }

// Directors are the sites' vCDs, by the id of the site.
func (c *Cloud) Directors() map[string]*director.Server {
	all := map[string]*director.Server{}
	for _, s := range c.sites {
		all[s.spec.ID] = s.director
	}
	return all
}

// VCenter is the vCenter of that name, or of that name in a site, SITE/NAME.
// It is nil where there is none.
func (c *Cloud) VCenter(name string) *vcenter.Server {
	for _, s := range c.sites {
		for _, vc := range s.vcenters {
			if name == vc.spec.Name || name == s.spec.ID+"/"+vc.spec.Name {
				return vc.server
			}
		}
	}
	return nil
}

// VCenters are all vCenters, by SITE/NAME.
func (c *Cloud) VCenters() map[string]*vcenter.Server {
	all := map[string]*vcenter.Server{}
	for _, s := range c.sites {
		for _, vc := range s.vcenters {
			all[s.spec.ID+"/"+vc.spec.Name] = vc.server
		}
	}
	return all
}

// Faults makes calls of all servers go wrong, and remembers them.
func (c *Cloud) Faults() *fault.Set { return c.faults }

// CA is the certificate of the authority behind all servers, as PEM.
func (c *Cloud) CA() []byte { return c.ca.pem() }

// Inventory is what the cloud was made from; without its vApps and VMs where
// Restored. It must not be changed.
func (c *Cloud) Inventory() *Inventory { return c.inventory }

func (c *Cloud) startSite(spec *Site, listen string, recorder func(director.Exchange)) error {
	s := &site{spec: spec}
	c.sites = append(c.sites, s) // so that Close finds what was started
	made := map[*VM]string{}
	for i := range spec.VCenters {
		// One after the other: vcsim's start touches what all of a process
		// share.
		vc, morefs, err := c.startVCenter(spec, &spec.VCenters[i])
		if err != nil {
			return err
		}
		s.vcenters = append(s.vcenters, vc)
		maps.Copy(made, morefs)
	}
	return c.startDirector(s, listen, made, recorder)
}

func datastoresDir(dir string) string { return filepath.Join(dir, "datastores") }
