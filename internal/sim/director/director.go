// Package director simulates a VMware Cloud Director: the vCloud API, versions
// 36.0 to 39.1, in front of one or more vCenters that it reaches over SOAP, as
// the real one does.
//
// It promises that every answer has the shape that the published schemas and
// recorded documents give it, that what a client may write comes back as it
// was written, that what a client may not write is refused the way a real
// installation refuses it, and that a VM's hardware is what its vCenter says
// at that moment. Work happens in tasks that run in the background.
//
// It refuses to be a cloud: packets go nowhere, external identity providers
// and placement are absent; doc/vcdsim.md has the list. What it holds outlives
// the process where it is given a directory for that; sessions do not.
package director

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vappvault/vappvault/internal/sim/fault"
	"github.com/vappvault/vappvault/internal/sim/graph"
)

// Config is what a Server starts from.
type Config struct {
	// Listen is the address to serve on; "127.0.0.1:0" when empty.
	Listen string
	// TLS is the certificate to show; a self-made one for localhost and
	// 127.0.0.1 when empty.
	TLS tls.Certificate
	// PublicURL is what hrefs begin with, "https://vcd.example.com"; the
	// address that the server listens on when empty.
	PublicURL string
	// AdminUser and AdminPassword are the system administrator's, who
	// logs in as AdminUser@System. "administrator" when the name is empty.
	AdminUser, AdminPassword string
	// AdminAPIToken, when not empty, is an API token of that account's.
	AdminAPIToken string
	// VCenters are the vCenters behind this installation.
	VCenters []VCenter
	// TaskDelay is how long a task waits in the states queued and running,
	// half of it in each, before its work is done.
	TaskDelay time.Duration
	// PageSizeMax caps the page size of queries; 128 when 0.
	PageSizeMax int
	// SessionTimeout is how long a session lives without being used; 30
	// minutes when 0.
	SessionTimeout time.Duration
	// SessionLifetime is how long a session lives however much it is used;
	// 24 hours when 0.
	SessionLifetime time.Duration
	// APIVersions are the versions that are served, in rising order; all
	// that there are when empty.
	APIVersions []string
	// Saved, when set, is told how each save in the background went.
	Saved func(error)
	// SnapshotsPerVM is the limit that API 39.0 and newer apply; 1 when 0.
	SnapshotsPerVM int
	// DiscoveryInterval is how often VMs that appeared in a VDC's resource
	// pool are made into vApps; never when 0. A real installation does it
	// about every three minutes.
	DiscoveryInterval time.Duration
	// StartupSecond is how long a second of a startup section's delays lasts
	// here; 0 does not wait.
	StartupSecond time.Duration
	// CustomizationTime is how long a guest customizes itself after its VM
	// was started; ten seconds when 0.
	CustomizationTime time.Duration
	// TransferDir is the folder for uploads and downloads under way; a
	// temporary one when empty.
	TransferDir string
	// LeaseInterval is how often leases are looked at; every second when 0.
	LeaseInterval time.Duration
	// Now is the clock of leases, tasks and dates of creation; time.Now
	// when nil. Sessions and delays follow the system's clock.
	Now func() time.Time
	// StateDir is where the inventory is kept, so that the next server with
	// that directory goes on where this one ended; "" keeps nothing.
	StateDir string
	// TransferTimeout is how long a transfer lives without progress; an
	// hour when 0.
	TransferTimeout time.Duration
	// Recorder, when set, is handed each exchange after it was answered.
	// It is called from many goroutines.
	Recorder func(Exchange)
	// Faults, when set, makes calls and tasks go wrong, and remembers them.
	// Site is the server's name there.
	Faults *fault.Set
	Site   string
}

// A VCenter is a vCenter that the installation has registered.
type VCenter struct {
	// ID is the UUID that vCD knows it by; made when empty.
	ID string
	// Name is the name in vCD. URL is the SDK's, "https://host/sdk".
	Name, URL, User, Password string
	// RootCAs verify its certificate. Nil: it is not verified.
	RootCAs *x509.CertPool `graph:"-"`
}

// An Exchange is one request and its answer.
type Exchange struct {
	Method, Path  string // Path with its query
	RequestType   string
	RequestBody   []byte
	Status        int
	ResponseType  string
	ResponseBody  []byte
	User, Version string
}

// A Server is a running simulated installation.
type Server struct {
	cfg  Config
	base string // of every href, without a trailing slash

	listener net.Listener
	http     *http.Server
	ctx      context.Context // ends with Close
	stop     context.CancelFunc
	work     sync.WaitGroup // tasks under way

	compressors sync.Pool // of *gzip.Writer

	spool     spool                  // of transfers
	arrivals  map[string]arrival     // by transfer, for the tasks that wait
	receiving map[*transferFile]bool // by a request at this moment

	codec    *graph.Codec
	restored bool // from StateDir
	started  time.Time
	saving   sync.Mutex // of savedSum and of the file; taken before mu
	savedSum [sha256.Size]byte

	mu      sync.Mutex
	changed bool // since it was saved
	// book has the addresses in use by org network while vApps are added; nil
	// after any other change. See booked.
	book    map[string]map[netip.Addr]bool
	running []*task   // that are not over
	pruned  time.Time // when finished tasks were looked at last
	// remembered are the VMs whose facts are in memory, the first read first.
	remembered []*vm
	following  bool // VMs are looked at in the background, see revisit
	inventory

	ahead atomic.Int64 // nanoseconds that the clock was moved on
	bases sync.Map     // VM id -> *sync.Mutex, see linking
}

// Start serves the installation that c describes: the one whose state is in
// Config.StateDir, or one that is empty but for the system organization and the
// vCenters.
func Start(c Config) (*Server, error) {
	s := &Server{cfg: withDefaults(c), inventory: newInventory(), codec: graph.New(graphTypes()...), started: time.Now()}
	if err := s.restore(); err != nil {
		return nil, fmt.Errorf("director: %w", err)
	}
	s.spool.dir, s.arrivals, s.receiving = c.TransferDir, map[string]arrival{}, map[*transferFile]bool{}
	if len(s.cfg.TLS.Certificate) == 0 {
		cert, err := selfSigned()
		if err != nil {
			return nil, fmt.Errorf("director: certificate: %w", err)
		}
		s.cfg.TLS = cert
	}
	life, stop := context.WithCancel(context.Background())
	s.ctx, s.stop = context.WithValue(life, lifeKey{}, life), stop
	l, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("director: %w", err)
	}
	s.listener = l
	s.base = s.cfg.PublicURL
	if s.base == "" {
		s.base = "https://" + reachable(l.Addr().(*net.TCPAddr))
	}
	if !s.restored {
		s.addSystem()
	}
	for _, vc := range s.cfg.VCenters {
		if err := s.addVCenter(vc); err != nil {
			s.stop()
			return nil, errors.Join(fmt.Errorf("director: vCenter %s: %w", vc.Name, err), l.Close())
		}
	}
	s.http = &http.Server{
		Handler:           s.handler(),
		TLSConfig:         s.cfg.Faults.TLSConfig(s.cfg.TLS, fault.VCD, s.cfg.Site),
		ReadHeaderTimeout: 30 * time.Second,
		// A client that does not trust the certificate is the client's
		// news, not this program's.
		ErrorLog: log.New(discard{}, "", 0),
	}
	go func() { _ = s.http.ServeTLS(l, "", "") }()
	s.work.Add(1)
	go s.leasesAlways()
	if s.cfg.StateDir != "" {
		s.work.Add(1)
		go s.saveAlways()
	}
	if s.cfg.DiscoveryInterval > 0 {
		s.work.Add(1)
		go s.discoverAlways()
	}
	return s, nil
}

// URL is the address of the installation, without a path.
func (s *Server) URL() *url.URL {
	u, err := url.Parse(s.base)
	if err != nil {
		return &url.URL{Scheme: "https", Host: s.listener.Addr().String()}
	}
	return u
}

// Certificate is the certificate that the server shows.
func (s *Server) Certificate() tls.Certificate { return s.cfg.TLS }

// Close ends running tasks, logs out of the vCenters, stops serving and saves
// the state.
func (s *Server) Close() error {
	s.stop()
	s.work.Wait()
	err := errors.Join(s.http.Close(), s.Save())
	s.spool.close()
	for _, vc := range s.vcenters {
		vc.logout()
	}
	return err
}

func withDefaults(c Config) Config {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if c.AdminUser == "" {
		c.AdminUser = "administrator"
	}
	if c.PageSizeMax == 0 {
		c.PageSizeMax = 128
	}
	if c.SessionTimeout == 0 {
		c.SessionTimeout = 30 * time.Minute
	}
	if c.CustomizationTime == 0 {
		c.CustomizationTime = 10 * time.Second
	}
	if c.LeaseInterval == 0 {
		c.LeaseInterval = time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.SessionLifetime == 0 {
		c.SessionLifetime = 24 * time.Hour
	}
	if len(c.APIVersions) == 0 {
		c.APIVersions = versions
	}
	if c.TransferTimeout == 0 {
		c.TransferTimeout = time.Hour
	}
	if c.SnapshotsPerVM == 0 {
		c.SnapshotsPerVM = 1
	}
	return c
}

// reachable is an address that this machine can dial.
func reachable(a *net.TCPAddr) string {
	if a.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", fmt.Sprint(a.Port))
	}
	return a.String()
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
