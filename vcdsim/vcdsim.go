// Package vcdsim runs a simulated VMware Cloud Director inside a Go program:
// the vCloud API and the OpenAPI of vCD, and behind them vCenters with
// vSphere's API, NFC, /folder and disks that hold real bytes. It is for tests
// of whatever speaks to vCD, in the place of a mock.
//
//	cloud, err := vcdsim.Start(vcdsim.Options{Dir: t.TempDir()})
//	...
//	defer cloud.Close()
//	site := cloud.Sites()[0]
//	client := govcd.NewVCDClient(*site.API(), true)
//	err = client.Authenticate(site.Admin.User, site.Admin.Password, "System")
//
// It promises to answer as the documents of the real ones say, and to refuse
// what they refuse; doc/vcdsim.md lists what is modelled and what is not.
// Everything is served over TLS, on addresses of this machine. The command
// vcdsim does the same for other languages.
//
// What is exported here is kept stable; the packages behind it change with
// the cloud that they simulate, which is why they are internal.
package vcdsim

import (
	"context"
	"io"
	"net/url"

	"github.com/vappvault/vappvault/internal/sim/cloud"
)

// Options says what to start.
type Options struct {
	// Dir is where disks are kept. It must be given.
	Dir string
	// Inventory is what the cloud holds, as YAML; doc/vcdsim.md has the
	// keys. The default has two orgs with vApps of every kind.
	Inventory []byte
	// Listen is the address of the first site's vCD; other servers take
	// ports of the same host. Default 127.0.0.1:0.
	Listen string
}

// A Cloud is a running one. Its methods may be called concurrently.
type Cloud struct{ running *cloud.Cloud }

// ErrBusy is the error of Start for an Options.Dir in which a cloud runs
// already, of this process or of another one.
var ErrBusy = cloud.ErrBusy

// Start makes what the options describe, or goes on with what Options.Dir keeps,
// and returns when it answers.
func Start(o Options) (*Cloud, error) {
	options := cloud.Options{Dir: o.Dir, Listen: o.Listen}
	if o.Inventory != nil {
		var err error
		if options.Inventory, err = cloud.Parse(o.Inventory); err != nil {
			return nil, err
		}
	}
	running, err := cloud.Start(options)
	if err != nil {
		return nil, err
	}
	return &Cloud{running}, nil
}

// Close ends all servers. What is in Options.Dir stays.
func (c *Cloud) Close() error { return c.running.Close() }

// DefaultInventory is the one of a cloud that is given none, with comments.
func DefaultInventory() []byte { return cloud.DefaultYAML() }

// A Site is one vCD and the vCenters behind it.
type Site struct {
	ID       string
	URL      *url.URL // https://HOST:PORT
	Admin    Login    // of the org System
	VCenters []VCenter
}

// API is the address that most clients want, https://HOST:PORT/api.
func (s *Site) API() *url.URL {
	// Not JoinPath: on an empty path it makes one without the slash in front,
	// and go-vcloud-director builds addresses out of the path.
	u := *s.URL
	u.Path = "/api"
	return &u
}

// A VCenter is one of a site.
type VCenter struct {
	Name         string
	InstanceUUID string
	URL          *url.URL // of the SOAP API, https://HOST:PORT/sdk
	Admin        Login
}

// A Login is a user and the password.
type Login struct{ User, Password string }

// Sites are the cloud's, in the order of the inventory.
func (c *Cloud) Sites() []Site {
	var out []Site
	directors, vcenters := c.running.Directors(), c.running.VCenters()
	for _, s := range c.running.Inventory().Sites {
		site := Site{ID: s.ID, URL: directors[s.ID].URL(), Admin: Login{s.Admin.Name, s.Admin.Password}}
		for _, vc := range s.VCenters {
			server := vcenters[s.ID+"/"+vc.Name]
			site.VCenters = append(site.VCenters, VCenter{
				Name: vc.Name, InstanceUUID: server.InstanceUUID(), URL: server.URL(), Admin: Login{vc.User, vc.Password},
			})
		}
		out = append(out, site)
	}
	return out
}

// CA is the certificate of the authority behind all servers, as PEM.
func (c *Cloud) CA() []byte { return c.running.CA() }

// DiskPort is where the hosts of all vCenters serve blocks of disks to the
// double of VDDK: its parameters server and nfchostport.
func (c *Cloud) DiskPort() (host string, port int) { return c.running.DiskPort() }

// A VM as its vCD knows it at the moment.
type VM struct {
	Path    string // ORG/VDC/VAPP/VM, with / @ * % inside a name percent-encoded
	Name    string
	Href    string // in the vCloud API
	VCenter string // SITE/NAME
	MoRef   string // in that vCenter
}

// VMs lists all VMs of all orgs, by path.
func (c *Cloud) VMs(ctx context.Context) ([]VM, error) {
	vms, err := c.running.VMs(ctx)
	var out []VM
	for _, m := range vms {
		out = append(out, VM{Path: m.Path, Name: m.Name, Href: m.Href, VCenter: m.VCenter, MoRef: m.MoRef})
	}
	return out, err
}

// Power switches a VM "on", "off" (and undeploys it) or makes it "suspended",
// as a user of vCD would. VM is a path, or a name that only one VM has; so it
// is in all that follows.
func (c *Cloud) Power(ctx context.Context, vm, state string) error {
	return c.running.Power(ctx, vm, state)
}

// A Disk is a VM's as its guest sees it: through snapshots and change
// tracking.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	Size() int64 // bytes
}

// Disk is the n-th disk of a VM, from 0, in the order of the device keys.
func (c *Cloud) Disk(ctx context.Context, vm string, n int) (Disk, error) {
	return c.running.Guest(ctx, vm, n)
}
