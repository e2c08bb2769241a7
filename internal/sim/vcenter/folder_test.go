package vcenter_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/vim25/soap"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

type browser struct {
	t    *testing.T
	s    *vcenter.Server
	http *http.Client
	auth func(*http.Request)
}

func browse(t *testing.T, s *vcenter.Server, c *govmomi.Client) *browser {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	b := &browser{t: t, s: s, http: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}}
	t.Cleanup(b.http.CloseIdleConnections)
	b.auth = func(r *http.Request) {
		for _, k := range c.Jar.Cookies(s.URL()) {
			r.AddCookie(k)
		}
	}
	return b
}

func (b *browser) do(method, path string, body []byte, header ...string) (int, []byte) {
	b.t.Helper()
	u := b.s.URL()
	u.Path = "/folder/" + path
	u.RawQuery = url.Values{"dcPath": {"DC0"}, "dsName": {"ds1"}}.Encode()
	r, err := http.NewRequest(method, u.String(), bytes.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	b.auth(r)
	res, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res.StatusCode, got
}

func TestFolderReadsFrozenFilesAndRefusesLockedOnes(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dial(t, s)
	b := browse(t, s, c)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", PowerOn: true, Disks: []vcenter.DiskSpec{{Size: 4 * mib}}})
	content := random(100_000)
	write(t, guest(t, s, vm, 0), 1000, content)
	if status, _ := b.do("GET", "vm/vm-flat.vmdk", nil); status != 500 {
		t.Errorf("got %d for the disk of a running VM, want 500", status)
	}
	snap := snapshot(t, vm, "x")
	status, got := b.do("GET", "vm/vm-flat.vmdk", nil, "Range", "bytes=1000-100999")
	if status != 206 || !bytes.Equal(got, content) {
		t.Errorf("got %d and %d bytes", status, len(got))
	}
	if n := s.Stats().FolderBytes; n != 100_000 {
		t.Errorf("counted %d bytes", n)
	}
	for _, c := range []struct {
		method, path string
		header       []string
		want         int
	}{
		{"GET", "vm/vm-000001-delta.vmdk", nil, 500},
		{"PUT", "vm/vm-flat.vmdk", nil, 500},
		{"DELETE", "vm/vm-flat.vmdk", nil, 500},
		{"GET", "vm/none.vmdk", nil, 404},
		{"DELETE", "vm/none.vmdk", nil, 404},
		{"GET", "vm/../../../etc/passwd", nil, 400},
		{"PUT", "new/file.bin", []string{"Content-Range", "bytes 0-1/10"}, 400},
		{"PUT", "new/file.bin", nil, 201},
		{"PUT", "new/file.bin", nil, 200},
		{"GET", "vm/vm.vmx", nil, 200},
		{"GET", "vm/vm.nvram", nil, 200},
		{"GET", "vm", nil, 200},
		{"DELETE", "new/file.bin", nil, 204},
		{"GET", "new/file.bin", nil, 404},
	} {
		if status, body := b.do(c.method, c.path, []byte("x"), c.header...); status != c.want {
			t.Errorf("%s %s: got %d, want %d: %.80s", c.method, c.path, status, c.want, body)
		}
	}
	s.Faults().RefuseFolder(true)
	if status, _ := b.do("GET", "vm/vm.vmx", nil); status != 403 {
		t.Errorf("got %d, want 403", status)
	}
	s.Faults().RefuseFolder(false)
	removeSnapshot(t, vm, snap, false)
}

func TestUploadedZerosStayHoles(t *testing.T) {
	t.Parallel()
	var dir string
	s := start(t, func(c *vcenter.Config) { dir = c.Dir })
	b := browse(t, s, dial(t, s))
	content := append(make([]byte, 8*mib), []byte("end")...)
	if status, body := b.do("PUT", "up/x-flat.vmdk", content); status != 201 {
		t.Fatalf("got %d: %s", status, body)
	}
	got, err := os.ReadFile(filepath.Join(dir, "ds1", "up", "x-flat.vmdk"))
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func TestFolderAsksWhoItIs(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *vcenter.Config) { c.SessionTimeout = 700 * time.Millisecond })
	c := dial(t, s)
	b := browse(t, s, c)
	machine(t, s, c, vcenter.VMSpec{Name: "vm", Disks: []vcenter.DiskSpec{{Size: mib}}})
	for name, tt := range map[string]struct {
		auth func(*http.Request)
		want int
	}{
		"a session":        {b.auth, 200},
		"nobody":           {func(*http.Request) {}, 401},
		"another cookie":   {func(r *http.Request) { r.AddCookie(&http.Cookie{Name: soap.SessionCookieName, Value: "x"}) }, 401},
		"a password":       {func(r *http.Request) { r.SetBasicAuth(user, password) }, 200},
		"a wrong password": {func(r *http.Request) { r.SetBasicAuth(user, "x") }, 401},
	} {
		if status, _ := (&browser{t, s, b.http, tt.auth}).do("GET", "vm/vm-flat.vmdk", nil); status != tt.want {
			t.Errorf("%s: got %d, want %d", name, status, tt.want)
		}
	}
	time.Sleep(2 * time.Second)
	if status, _ := b.do("GET", "vm/vm-flat.vmdk", nil); status != 401 {
		t.Errorf("an expired session: got %d, want 401", status)
	}
	if u, err := c.SessionManager.UserSession(context.Background()); err == nil && u != nil {
		t.Error(fmt.Sprint("the session has not expired: ", u.UserName))
	}
}

// length is what the server says that a file has.
func (b *browser) length(path string) int64 {
	b.t.Helper()
	u := b.s.URL()
	u.Path = "/folder/" + path
	u.RawQuery = url.Values{"dcPath": {"DC0"}, "dsName": {"ds1"}}.Encode()
	r, err := http.NewRequest(http.MethodHead, u.String(), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.auth(r)
	res, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	return res.ContentLength
}
