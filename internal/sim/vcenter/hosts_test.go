package vcenter_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

func TestLeasesLeadToTheHostOfTheVM(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	ctx := context.Background()
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", PowerOn: true, Disks: []vcenter.DiskSpec{{Size: mib, Thin: true}}})
	lease, info := exportSnapshot(t, vm, snapshot(t, vm, "x"))
	t.Cleanup(func() { _ = lease.Abort(ctx, nil) })
	u := info.Items[0].URL
	cert := s.HostCertificates()[u.Host]
	if cert == nil || u.Host == s.URL().Host {
		t.Fatalf("got URL %s, want one of a host", u)
	}
	print := soap.ThumbprintSHA1(cert)
	if got := info.DeviceUrl[0].SslThumbprint; got != print {
		t.Errorf("got thumbprint %s, want %s", got, print)
	}
	var host mo.HostSystem
	if err := property.DefaultCollector(c.Client).RetrieveOne(ctx, *props(t, vm).Runtime.Host, []string{"config.certificate", "summary"}, &host); err != nil {
		t.Fatal(err)
	}
	if host.Summary.Config.SslThumbprint != print || !strings.Contains(string(host.Config.Certificate), "BEGIN CERTIFICATE") {
		t.Errorf("the host shows thumbprint %s and certificate %q", host.Summary.Config.SslThumbprint, host.Config.Certificate)
	}
	known, err := methods.QueryHostConnectionInfo(ctx, c.Client, &types.QueryHostConnectionInfo{This: host.Self})
	if err != nil || known.Returnval.Host.Config.SslThumbprint != print {
		t.Errorf("got %+v, %v", known, err)
	}
	download(t, c, info.Items[0])
	// Neither vCenter nor another host has the lease.
	certs := s.HostCertificates()
	certs[s.URL().Host] = s.Certificate()
	for addr, cert := range certs {
		c.SetThumbprint(addr, soap.ThumbprintSHA1(cert))
		other := *u
		other.Host = addr
		if got := ticketGet(t, c.Client.Client, other, ""); (got == http.StatusOK) != (addr == u.Host) {
			t.Errorf("%s: got %d for the lease of %s", addr, got, u.Host)
		}
	}
}

func TestAForgedThumbprintIsNoticed(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", Disks: []vcenter.DiskSpec{{Size: mib, Thin: true}}})
	snap := snapshot(t, vm, "x")
	s.Faults().ForgeThumbprint(true)
	_, info := exportSnapshot(t, vm, snap)
	if _, _, err := c.Download(context.Background(), info.Items[0].URL, &soap.Download{Method: http.MethodGet}); err == nil {
		t.Error("the client trusts a host with another certificate than the lease names")
	}
}

func TestFolderOfAHostTakesTickets(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	ctx := context.Background()
	machine(t, s, c, vcenter.VMSpec{Name: "vm", Disks: []vcenter.DiskSpec{{Size: mib, Thin: true}}})
	for addr, cert := range s.HostCertificates() {
		c.SetThumbprint(addr, soap.ThumbprintSHA1(cert))
		u := url.URL{Scheme: "https", Host: addr, Path: "/folder/vm/vm.vmdk", RawQuery: "dcPath=DC0&dsName=ds1"}
		res, err := methods.AcquireGenericServiceTicket(ctx, c.Client, &types.AcquireGenericServiceTicket{
			This: *c.ServiceContent.SessionManager, Spec: &types.SessionManagerHttpServiceRequestSpec{Url: u.String(), Method: "httpGet"},
		})
		if err != nil || res.Returnval.HostName != addr {
			t.Fatalf("got ticket %+v, %v", res, err)
		}
		for i, want := range []int{http.StatusOK, http.StatusUnauthorized} {
			if got := ticketGet(t, c.Client.Client, u, res.Returnval.Id); got != want {
				t.Errorf("use %d of the ticket: got %d, want %d", i+1, got, want)
			}
		}
	}
}

func ticketGet(t *testing.T, c *soap.Client, u url.URL, id string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, u.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.AddCookie(&http.Cookie{Name: "vmware_cgi_ticket", Value: id})
	status := 0
	if err := c.Do(context.Background(), req, func(r *http.Response) error { status = r.StatusCode; return nil }); err != nil {
		t.Fatal(err)
	}
	return status
}

func TestAWrongThumbprintOfAHostIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	dcs, err := find.NewFinder(c.Client).DefaultDatacenter(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for addr, cert := range s.HostCertificates() {
		ask := func(print string) error {
			_, err := methods.QueryConnectionInfo(context.Background(), c.Client, &types.QueryConnectionInfo{
				This: dcs.Reference(), Hostname: addr, Port: -1, Username: "root", Password: "x", SslThumbprint: print,
			})
			return err
		}
		var verify *types.SSLVerifyFault
		_, ok := fault.As(ask("AA:BB"), &verify)
		if !ok || verify.Thumbprint != soap.ThumbprintSHA1(cert) {
			t.Errorf("%s: got %+v", addr, verify)
		}
		if err := ask(soap.ThumbprintSHA1(cert)); err != nil {
			t.Error(err)
		}
	}
}
