package vcenter

import (
	"context"
	"crypto/sha1" // #nosec: what vSphere calls a thumbprint
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/fault"
)

// An esxHost is the server that a host of the cluster runs itself: NFC and
// /folder of its datastores, under a certificate of its own that nobody but
// vCenter vouches for.
type esxHost struct {
	ref  types.ManagedObjectReference
	name string
	leaf *x509.Certificate
	addr string // host:port
	http *http.Server
}

// startHosts gives every host its listener and its certificate.
func (s *Server) startHosts(ctx *simulator.Context) error {
	for _, ref := range s.inv.hosts {
		h, err := s.startHost(ctx, ref)
		if err != nil {
			return fmt.Errorf("host %s: %w", ref.Value, err)
		}
		s.inv.esx[ref] = h
	}
	return nil
}

func (s *Server) startHost(ctx *simulator.Context, ref types.ManagedObjectReference) (*esxHost, error) {
	host, ok := s.model.Map().Get(ref).(*simulator.HostSystem)
	if !ok {
		return nil, gone(ref)
	}
	h := &esxHost{ref: ref, name: host.Name}
	cert, err := selfSigned(s.cfg.Listen, h.name)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	if h.leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
		return nil, fmt.Errorf("parse certificate: %w", err)
	}
	if err := s.showCertificate(ctx, host, h); err != nil {
		return nil, err
	}
	name, _, err := net.SplitHostPort(s.cfg.Listen)
	if err != nil {
		return nil, err
	}
	ctx.WithLock(host, func() { host.Config.Network.Vnic[0].Spec.Ip.IpAddress = name })
	if s.cfg.NFCProxy {
		return h, nil
	}
	l, err := net.Listen("tcp", net.JoinHostPort(name, "0"))
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	h.addr = advertised(l.Addr())
	label := s.cfg.Label + "/" + host.Name
	serve := func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, nfcPath):
			s.serveNFC(w, r, h)
		case isFolder(r):
			s.serveHostFolder(w, r, h)
		default:
			http.NotFound(w, r)
		}
	}
	h.http = &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serveRuled(w, r, label, serve) }),
		TLSConfig:         s.cfg.Rules.TLSConfig(cert, fault.NFC, label),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	go func() { _ = h.http.ServeTLS(l, "", "") }()
	return h, nil
}

// showCertificate lets the API name the host's certificate wherever a real
// one does: HostConfigInfo.certificate, the certificate manager and the
// thumbprint of the summary.
func (s *Server) showCertificate(ctx *simulator.Context, host *simulator.HostSystem, h *esxHost) error {
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.leaf.Raw})
	cm, ok := s.model.Map().Get(*host.ConfigManager.CertificateManager).(*simulator.HostCertificateManager)
	if !ok {
		return errors.New("no certificate manager")
	}
	body := cm.InstallServerCertificate(ctx, &types.InstallServerCertificate{Cert: string(text)})
	if f := body.Fault(); f != nil {
		return errors.New(f.String)
	}
	ctx.WithLock(host, func() {
		host.Config.Certificate = text
		host.Summary.Config.SslThumbprint = thumbprintOf(h.leaf)
		if p := host.Summary.Config.Product; p != nil {
			product := *p // vcsim's hosts share one
			product.FullName = "VMware ESXi " + version + " build-" + build
			product.Version, product.Build, product.ApiVersion = version, build, version+".0"
			host.Summary.Config.Product, host.Config.Product = &product, product
		}
	})
	return nil
}

func thumbprintOf(c *x509.Certificate) string {
	sum := sha1.Sum(c.Raw)
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":")
}

// hostOf is the host that a VM is on.
func (s *Server) hostOf(ctx *simulator.Context, ref types.ManagedObjectReference) *esxHost {
	vm, err := s.vm(ref)
	if err != nil {
		return nil
	}
	var at *types.ManagedObjectReference
	ctx.WithLock(vm, func() { at = vm.Runtime.Host })
	if at == nil {
		return nil
	}
	return s.inv.esx[*at]
}

// HostCertificates are the certificates of the hosts, by host:port of where
// they serve NFC and /folder.
func (s *Server) HostCertificates() map[string]*x509.Certificate {
	all := map[string]*x509.Certificate{}
	for _, h := range s.inv.esx {
		if h.addr != "" {
			all[h.addr] = h.leaf
		}
	}
	return all
}

func (s *Server) closeHosts(ctx context.Context) error {
	var errs []error
	for _, h := range s.inv.esx {
		if h.http == nil {
			continue
		}
		err := h.http.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = h.http.Close()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// serveHostFolder is /folder of one host. A host knows no sessions of
// vCenter's: it takes a ticket that vCenter gave out for this very request
// (SessionManager.AcquireGenericServiceTicket), or an account's password.
func (s *Server) serveHostFolder(w http.ResponseWriter, r *http.Request, h *esxHost) {
	if c, err := r.Cookie("vmware_cgi_ticket"); err == nil {
		if user, ok := s.useTicket(strings.Trim(c.Value, `"`), h, r); ok {
			s.folderRequest(w, r, user)
			return
		}
	}
	if user, password, ok := r.BasicAuth(); ok && s.validUser(user, password) {
		s.folderRequest(w, r, user)
		return
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="VMware HTTP server"`)
	http.Error(w, "authentication required", http.StatusUnauthorized)
}

// A ticket lets whoever has it make one HTTP request.
type ticket struct {
	user    string
	url     *url.URL
	method  string
	expires time.Time
}

// ticketLife is how long a ticket may wait for its request
// (SessionManagerGenericServiceTicket: "single-use and short-lived").
const ticketLife = 2 * time.Minute

func (s *Server) useTicket(id string, h *esxHost, r *http.Request) (user string, ok bool) {
	s.mu.Lock()
	t := s.tickets[id]
	delete(s.tickets, id)
	s.mu.Unlock()
	if t == nil || time.Now().After(t.expires) {
		return "", false
	}
	if t.url.Host != h.addr && t.url.Hostname() != h.name || t.url.Path != r.URL.Path {
		return "", false
	}
	return t.user, t.method == "" || strings.EqualFold(strings.TrimPrefix(t.method, "http"), r.Method)
}

// AcquireGenericServiceTicket gives out a ticket for one request to a host.
func (m *sessionCalls) AcquireGenericServiceTicket(ctx *simulator.Context, req *types.AcquireGenericServiceTicket) soap.HasFault {
	body := new(methods.AcquireGenericServiceTicketBody)
	spec, ok := req.Spec.(*types.SessionManagerHttpServiceRequestSpec)
	if !ok {
		body.Fault_ = soapFault(refuse(&types.InvalidArgument{InvalidProperty: "spec"}, "service request %T", req.Spec))
		return body
	}
	u, err := url.Parse(spec.Url)
	if err != nil {
		body.Fault_ = soapFault(refuse(&types.InvalidArgument{InvalidProperty: "spec.url"}, "%v", err))
		return body
	}
	t := types.SessionManagerGenericServiceTicket{Id: newTicketID(), HostName: m.s.url.Host, SslThumbprint: thumbprintOf(m.s.leaf)}
	for _, h := range m.s.inv.esx {
		if h.addr != "" && (u.Host == h.addr || u.Hostname() == h.name) {
			t.HostName, t.SslThumbprint = h.addr, thumbprintOf(h.leaf)
		}
	}
	m.s.mu.Lock()
	for id, old := range m.s.tickets {
		if time.Now().After(old.expires) {
			delete(m.s.tickets, id)
		}
	}
	m.s.tickets[t.Id] = &ticket{ctx.Session.UserName, u, spec.Method, time.Now().Add(ticketLife)}
	m.s.mu.Unlock()
	body.Res = &types.AcquireGenericServiceTicketResponse{Returnval: t}
	return body
}

// QueryHostConnectionInfo tells how vCenter reaches the host.
func (h *hostSystem) QueryHostConnectionInfo(_ *simulator.Context, _ *types.QueryHostConnectionInfo) soap.HasFault {
	info := h.s.connectionInfo(h.HostSystem)
	return &methods.QueryHostConnectionInfoBody{Res: &types.QueryHostConnectionInfoResponse{Returnval: info}}
}

func (s *Server) connectionInfo(h *simulator.HostSystem) types.HostConnectInfo {
	return types.HostConnectInfo{
		ServerIp: s.url.Hostname(), InDasCluster: types.NewBool(false), Host: h.Summary, Vm: nil,
		VimAccountNameRequired: types.NewBool(true), ClusterSupported: types.NewBool(true),
	}
}

// QueryConnectionInfo asks a host that may not be in the inventory yet. A
// thumbprint that is not the host's is refused with the one that is.
func (d *datacenter) QueryConnectionInfo(_ *simulator.Context, req *types.QueryConnectionInfo) soap.HasFault {
	body := new(methods.QueryConnectionInfoBody)
	for ref, h := range d.s.inv.esx {
		host, port, _ := net.SplitHostPort(h.addr)
		if req.Hostname != h.name && req.Hostname != h.addr && (req.Hostname != host || fmt.Sprint(req.Port) != port) {
			continue
		}
		if have := thumbprintOf(h.leaf); !strings.EqualFold(req.SslThumbprint, have) {
			body.Fault_ = soapFault(refuse(&types.SSLVerifyFault{SelfSigned: true, Thumbprint: have},
				"host %s: the SSL certificate cannot be verified", h.name))
			return body
		}
		if obj, ok := d.s.model.Map().Get(ref).(*simulator.HostSystem); ok {
			body.Res = &types.QueryConnectionInfoResponse{Returnval: d.s.connectionInfo(obj)}
			return body
		}
	}
	body.Fault_ = soapFault(refuse(&types.NoHost{Name: req.Hostname}, "host %s: cannot be reached", req.Hostname))
	return body
}
