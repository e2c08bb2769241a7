package cloud

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"

	"github.com/vappvault/vappvault/internal/sim/director"
	"github.com/vappvault/vappvault/internal/sim/fault"
	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

// Options says what to start. The zero Inventory is the default one.
type Options struct {
	Inventory *Inventory
	// Dir is where disks are kept, in datastores/SITE/VCENTER/DATASTORE.
	// What an earlier cloud left there is removed.
	Dir string
	// Listen is the address of the first site's vCD; the other servers
	// take ports of the same host. Default 127.0.0.1:0.
	Listen string
	// Recorder, when set, is handed each exchange with a vCD, from many
	// goroutines.
	Recorder func(director.Exchange)
	// Faults holds the rules and the log of calls; a fresh one when nil.
	Faults *fault.Set
}

// A Cloud is a running one. Its methods may be called concurrently.
type Cloud struct {
	inventory *Inventory
	dir       string
	host      string // that servers listen on
	ca        *authority
	sites     []*site
	faults    *fault.Set
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
	server *vcenter.Server
}

// Start makes what the inventory describes, and returns when it answers.
func Start(o Options) (*Cloud, error) {
	if o.Inventory == nil {
		o.Inventory = Default()
	}
	host, _, err := net.SplitHostPort(cmp.Or(o.Listen, "127.0.0.1:0"))
	if err != nil {
		return nil, fmt.Errorf("cloud: address to listen on: %w", err)
	}
	if err := prepare(o.Dir); err != nil {
		return nil, fmt.Errorf("cloud: %w", err)
	}
	c := &Cloud{inventory: o.Inventory, dir: o.Dir, host: host, faults: o.Faults}
	if c.faults == nil {
		c.faults = fault.New(1)
	}
	if c.ca, err = newAuthority(); err != nil {
		return nil, fmt.Errorf("cloud: certificate authority: %w", err)
	}
	for i := range o.Inventory.Sites {
		listen := o.Listen
		if i > 0 || listen == "" {
			listen = net.JoinHostPort(host, "0")
		}
		if err := c.startSite(&o.Inventory.Sites[i], listen, o.Recorder); err != nil {
			return nil, errors.Join(fmt.Errorf("cloud: site %s: %w", o.Inventory.Sites[i].ID, err), c.Close())
		}
	}
	return c, nil
}

// Close ends all servers. The disks stay where they are.
func (c *Cloud) Close() error {
	var problems []error
	for _, s := range c.sites {
		if s.director != nil {
			problems = append(problems, s.director.Close())
		}
		for _, vc := range s.vcenters {
			problems = append(problems, vc.server.Close())
		}
	}
	return errors.Join(problems...)
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

// Inventory is what the cloud was made from. It must not be changed.
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

// mark is a file that says that vcdsim made a folder and may empty it.
const mark = ".vcdsim"

// prepare makes dir, with an empty folder for the datastores.
func prepare(dir string) error {
	if dir == "" {
		return errors.New("no directory given")
	}
	stores := datastoresDir(dir)
	switch entries, err := os.ReadDir(stores); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case len(entries) > 0:
		if _, err := os.Stat(filepath.Join(stores, mark)); err != nil {
			return fmt.Errorf("%s: something else than vcdsim made it", stores)
		}
		if err := os.RemoveAll(stores); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(stores, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(stores, mark), nil, 0o600)
}

func datastoresDir(dir string) string { return filepath.Join(dir, "datastores") }
