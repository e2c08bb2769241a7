package vcenter

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	vapi "github.com/vmware/govmomi/vapi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/fault"
)

// What vCenter and hosts call themselves: a release that every vCD from 10.4
// on works with.
const (
	version = "8.0.2"
	build   = "22617221"
	// newestHardware is what a VM gets that asks for no version.
	newestHardware = "vmx-21"
)

// Server is a running vCenter. Its methods may be called concurrently.
type Server struct {
	cfg    Config
	model  *simulator.Model
	http   *http.Server
	url    *url.URL
	cert   tls.Certificate
	leaf   *x509.Certificate
	faults *Faults
	store  *store
	stats  counters
	inv    inventory
	perms  permissions
	keeper *keeper // nil: no state is kept
	disks  *diskPort
	built  metaRecord

	direct  sync.Mutex // one AddVMs at a time; guards pattern
	pattern *simulator.VirtualMachine
	// vcsim reads datastores without their locks: nobody writes to them
	// meanwhile. Its creation of VMs shares device templates between them.
	space   sync.RWMutex
	taskSeq atomic.Int64
	macSeq  atomic.Int64
	macBase byte
	tasks   sync.WaitGroup

	mu     sync.Mutex // guards what follows
	vms    map[types.ManagedObjectReference]*vmState
	leases map[string]*lease
	closed bool

	background context.Context // ends with Close
	stop       context.CancelFunc

	hook func(moment string) // of tests

	// tickets are for one request each, see AcquireGenericServiceTicket.
	tickets map[string]*ticket
	// wrappers are the sessions that have a wrapper of an object.
	wrappers map[types.ManagedObjectReference]map[*simulator.Registry]bool
}

// Stats counts bytes of content sent and received over HTTP.
type Stats struct{ FolderBytes, NFCBytesOut, NFCBytesIn int64 }

type counters struct{ folder, nfcOut, nfcIn atomic.Int64 }

// creating guards what vcsim shares between all models of a process: making
// one and its hosts writes to and reads templates, its licence's among them.
var creating sync.Mutex

// Start makes the inventory that c describes and serves it over HTTPS.
func Start(c Config) (*Server, error) {
	if err := c.setDefaults(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg:      c,
		faults:   newFaults(),
		vms:      map[types.ManagedObjectReference]*vmState{},
		leases:   map[string]*lease{},
		tickets:  map[string]*ticket{},
		wrappers: map[types.ManagedObjectReference]map[*simulator.Registry]bool{},
	}
	s.background, s.stop = context.WithCancel(context.Background())
	old, meta, err := s.recall()
	if err != nil {
		return nil, fmt.Errorf("vcenter simulator: %w", err)
	}
	if s.cfg.InstanceUUID == "" {
		s.cfg.InstanceUUID = uuid.NewString()
	}
	for _, b := range []byte(s.cfg.InstanceUUID) {
		s.macBase = s.macBase*31 + b // vCenters side by side give out different MACs
	}
	s.store = newStore(c)
	s.store.touch = s.touch
	creating.Lock()
	defer creating.Unlock()
	if err := s.makeModel(); err != nil {
		return nil, fmt.Errorf("vcenter simulator: %w", err)
	}
	if err := s.serve(); err != nil {
		s.model.Remove()
		return nil, fmt.Errorf("vcenter simulator: %w", err)
	}
	if err := s.rebuild(old, meta); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("vcenter simulator: inventory: %w", err)
	}
	return s, nil
}

func (s *Server) makeModel() error {
	m := simulator.VPX()
	m.Datacenter, m.Portgroup, m.Host, m.Cluster, m.ClusterHost, m.Datastore, m.Machine = 0, 0, 0, 0, 0, 0, 0
	m.ServiceContent.About.InstanceUuid = s.cfg.InstanceUUID
	about := &m.ServiceContent.About
	about.Name = s.cfg.Name
	about.FullName = "VMware vCenter Server " + version + " build-" + build
	about.Version, about.Build, about.ApiVersion = version, build, version+".0"
	if err := m.Create(); err != nil {
		return fmt.Errorf("create model: %w", err)
	}
	s.model = m
	s.servePolicies()
	reg := m.Map()
	reg.Handler = s.intercept
	reg.SessionManager().ValidLogin = func(l *types.Login) bool { return s.validUser(l.UserName, l.Password) }
	options := reg.OptionManager()
	// The templates behind the settings belong to every vcsim of the
	// process: use copies.
	var settings []types.BaseOptionValue
	for _, o := range options.Setting {
		v := *o.GetOptionValue()
		if v.Key != "config.vmacore.soap.sessionTimeout" {
			settings = append(settings, &v)
		}
	}
	options.Setting = append(settings, &types.OptionValue{
		Key: "config.vmacore.soap.sessionTimeout", Value: s.cfg.SessionTimeout.String(),
	})
	return nil
}

// serveREST adds vCenter's REST API: tags and categories above all.
func (s *Server) serveREST(svc *simulator.Service) {
	paths, h := vapi.New(svc.Listen, svc.Context.Map)
	for _, p := range paths {
		svc.Handle(p, &restGuard{h, s})
	}
}

// serve takes the place of vcsim's own listener, so that nothing has to be
// changed behind the back of a running server.
func (s *Server) serve() error {
	s.cert = s.cfg.TLS
	if len(s.cert.Certificate) == 0 {
		var err error
		if s.cert, err = selfSigned(s.cfg.Listen); err != nil {
			return fmt.Errorf("make certificate: %w", err)
		}
	}
	leaf, err := x509.ParseCertificate(s.cert.Certificate[0])
	if err != nil {
		return fmt.Errorf("parse certificate: %w", err)
	}
	s.leaf = leaf
	l, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if err := s.startDiskPort(l.Addr().(*net.TCPAddr).Port); err != nil {
		return errors.Join(err, l.Close())
	}
	svc := s.model.Service
	svc.RegisterSDK(svc.Context.Map, svc.Context.Map.Path+"/vimService")
	svc.ServeMux.HandleFunc(svc.Context.Map.Path+"/vimServiceVersions.xml", svc.ServiceVersions)
	s.url = &url.URL{Scheme: "https", Host: advertised(l.Addr()), Path: svc.Context.Map.Path}
	// A user other than vcsim's default turns its password check on.
	svc.Listen = &url.URL{Scheme: "https", Host: s.url.Host, Path: s.url.Path, User: url.User(uuid.NewString())}
	svc.Context.Map.SessionManager().ServiceHostName = s.url.Host
	s.serveREST(svc)
	s.http = &http.Server{
		Handler:           s,
		TLSConfig:         s.cfg.Rules.TLSConfig(s.cert, fault.VSphere, s.cfg.Label),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0), // clients that refuse the certificate are not news
	}
	go func() { _ = s.http.ServeTLS(l, "", "") }()
	return nil
}

func advertised(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// dispatch leads to what this package serves itself and leaves the rest to
// vcsim.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) {
	switch {
	case isFolder(r):
		s.serveFolder(w, r)
	case strings.HasPrefix(r.URL.Path, nfcPath):
		s.serveNFC(w, r, nil)
	case strings.HasPrefix(r.Header.Get("Authorization"), "SIGN "):
		// vcsim takes any token; here is no STS that could have signed one.
		http.Error(w, "no such token", http.StatusUnauthorized)
	case s.full(r):
		http.Error(w, "503 Service Unavailable", http.StatusServiceUnavailable)
	case s.methodToggle(w, r):
	default:
		if strings.HasPrefix(r.URL.Path, s.url.Path) {
			w = &faultWriter{ResponseWriter: w, version: r.Header.Get("SOAPAction")}
		}
		s.model.Service.ServeMux.ServeHTTP(w, r)
	}
}

// URL is the address of the SOAP API, https://HOST:PORT/sdk.
func (s *Server) URL() *url.URL { u := *s.url; return &u }

// Certificate is the one that the server presents.
func (s *Server) Certificate() *x509.Certificate { return s.leaf }

// InstanceUUID identifies this vCenter.
func (s *Server) InstanceUUID() string { return s.cfg.InstanceUUID }

// Faults is where tests make things go wrong.
func (s *Server) Faults() *Faults { return s.faults }

// Stats returns what was transferred so far.
func (s *Server) Stats() Stats {
	return Stats{s.stats.folder.Load(), s.stats.nfcOut.Load(), s.stats.nfcIn.Load()}
}

// Close stops serving, ends leases and waits for running tasks. The files
// below Config.Dir stay.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	var open []*lease
	for _, l := range s.leases {
		open = append(open, l)
	}
	s.mu.Unlock()
	for _, l := range open {
		l.end()
	}
	s.stop()
	s.disks.close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close() // a stream that nobody reads does not end by itself
	}
	err = errors.Join(err, s.closeHosts(ctx))
	s.tasks.Wait()
	if s.keeper != nil && s.keeper.log != nil {
		err = errors.Join(err, s.save(true), s.keeper.log.close())
	}
	s.model.Remove()
	return err
}

func (s *Server) validUser(user, password string) bool {
	if user == "" || password == "" {
		return false
	}
	if len(s.cfg.Users) == 0 && len(s.cfg.Accounts) == 0 {
		return true
	}
	for _, u := range s.cfg.Accounts {
		if u.Name == user {
			return u.Password == password
		}
	}
	want, ok := s.cfg.Users[user]
	return ok && want == password
}

// newContext is a context for work of the server's own, apart from every
// other one: vcsim tells the owners of locks apart by context.
func (s *Server) newContext() *simulator.Context {
	c := *s.model.Service.Context
	c.Context = context.Background()
	return &c
}
