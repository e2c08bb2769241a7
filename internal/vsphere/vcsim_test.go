package vsphere_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/pem"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/vmware/govmomi/simulator"

	"github.com/vappvault/vappvault/internal/vsphere"
)

// A vcsim is govmomi's own simulator behind a door that counts calls and
// can refuse them.
type vcsim struct {
	url   string
	cert  []byte // DER
	model *simulator.Model

	mu     sync.Mutex
	calls  map[string]int    // by SOAP method
	bodies map[string]string // the last, by SOAP method
	refuse map[string]int    // SOAP method -> how many calls get 503
}

const user, password = "administrator@vsphere.local", "s3cret-Pa55"

func startVCSim(t *testing.T) *vcsim {
	t.Helper()
	m := simulator.VPX()
	m.Host, m.Cluster, m.ClusterHost, m.Machine, m.Datastore = 0, 1, 2, 2, 2
	if err := m.Create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Remove)
	m.Service.TLS = new(tls.Config)
	m.Service.Listen = &url.URL{User: url.UserPassword(user, password), Host: "127.0.0.1:0"}
	v := &vcsim{model: m, calls: map[string]int{}, bodies: map[string]string{}, refuse: map[string]int{}}
	s := m.Service.NewServer()
	t.Cleanup(s.Close)
	inner := s.Config.Handler
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && v.door(w, r) {
			return
		}
		inner.ServeHTTP(w, r)
	})
	u := *s.URL
	u.User = nil
	v.url = u.String()
	v.cert = s.TLS.Certificates[0].Certificate[0]
	return v
}

// door reports whether it has answered the request itself.
func (v *vcsim) door(w http.ResponseWriter, r *http.Request) bool {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return false
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	method := soapMethod(string(body))
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls[method]++
	v.bodies[method] = string(body)
	if v.refuse[method] > 0 {
		v.refuse[method]--
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	return false
}

// soapMethod returns the name of the element in the SOAP body.
func soapMethod(body string) string {
	_, rest, ok := strings.Cut(body, "Body><")
	if !ok {
		return ""
	}
	return strings.FieldsFunc(rest, func(r rune) bool { return r == ' ' || r == '>' })[0]
}

func (v *vcsim) count(method string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.calls[method]
}

func (v *vcsim) refuseNext(method string, times int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.refuse[method] = times
}

func (v *vcsim) fingerprint() string { return vsphere.Fingerprint(sha256.Sum256(v.cert)) }

func (v *vcsim) caFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: v.cert}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func (v *vcsim) options() vsphere.Options {
	return vsphere.Options{URL: v.url, User: user, Password: password, TLS: vsphere.TLS{Fingerprint: v.fingerprint()}}
}

func (v *vcsim) connect(t *testing.T) *vsphere.Client {
	t.Helper()
	return connect(t, v.options())
}

func connect(t *testing.T, o vsphere.Options) *vsphere.Client {
	t.Helper()
	c, err := vsphere.Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	c.Hurry()
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// anyVM returns one of the simulator's VMs.
func anyVM(t *testing.T, c *vsphere.Client) *vsphere.VM {
	t.Helper()
	found, err := c.FindVMs(t.Context(), "DC0_C0_RP0_VM")
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Fatal("no VM in the simulator")
	}
	return c.VM(found[0].MoRef)
}
