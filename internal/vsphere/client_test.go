package vsphere_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/vsphere"
)

func TestConnectTrusts(t *testing.T) {
	t.Parallel()
	v := startVCSim(t)
	ca := v.caFile(t)
	other := strings.Repeat("AB:", 31) + "AB"
	for _, c := range []struct {
		name string
		tls  vsphere.TLS
		err  error
		says []string
	}{
		{"the pinned certificate", vsphere.TLS{Fingerprint: v.fingerprint()}, nil, nil},
		{"a pin in lower case without colons", vsphere.TLS{Fingerprint: strings.ToLower(strings.ReplaceAll(v.fingerprint(), ":", ""))}, nil, nil},
		{"a certificate that the CA file vouches for", vsphere.TLS{CAFile: ca}, nil, nil},
		{"no unknown certificate, and shows its fingerprint", vsphere.TLS{}, vsphere.ErrUntrusted, []string{"127.0.0.1:", v.fingerprint()}},
		{"no other certificate than the pinned one", vsphere.TLS{Fingerprint: other}, vsphere.ErrUntrusted, []string{"127.0.0.1:", v.fingerprint(), other}},
		{"the pin before the CA file", vsphere.TLS{Fingerprint: other, CAFile: ca}, vsphere.ErrUntrusted, []string{other}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := v.options()
			o.TLS = c.tls
			client, err := vsphere.Connect(t.Context(), o)
			if err == nil {
				err = client.Close(t.Context())
			}
			if !errors.Is(err, c.err) {
				t.Fatalf("got %v, want %v", err, c.err)
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
		})
	}
}

func TestConnectRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	for _, o := range []vsphere.Options{
		{},
		{URL: "ftp://vcenter"},
		{URL: "https://root:hidden@vcenter/sdk"},
		{URL: "https://root:hid den@vcenter/sdk"},
		{URL: "https://vcenter", TLS: vsphere.TLS{Fingerprint: "12:34"}},
		{URL: "https://vcenter", TLS: vsphere.TLS{CAFile: "/nonexistent/ca.pem"}},
	} {
		_, err := vsphere.Connect(t.Context(), o)
		if err == nil {
			t.Errorf("%+v: no error", o)
		} else if strings.Contains(err.Error(), "hid") {
			t.Errorf("%q shows a password", err)
		}
	}
}

func TestWrongPasswordNamesUserButNotPassword(t *testing.T) {
	t.Parallel()
	v := startVCSim(t)
	o := v.options()
	o.Password = "wr0ng-Pa55"
	_, err := vsphere.Connect(t.Context(), o)
	if !errors.Is(err, vsphere.ErrLogin) {
		t.Fatalf("got %v, want ErrLogin", err)
	}
	for _, s := range []string{v.url, user} {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not name %q", err, s)
		}
	}
	if strings.Contains(err.Error(), o.Password) {
		t.Errorf("%q shows the password", err)
	}
}

func TestUnreachableVCenterIsNamed(t *testing.T) {
	t.Parallel()
	_, err := vsphere.Connect(t.Context(), vsphere.Options{URL: "https://127.0.0.1:1", User: user, Password: password})
	if err == nil || !strings.Contains(err.Error(), "vCenter https://127.0.0.1:1/sdk") {
		t.Fatalf("got %v", err)
	}
}

// sessions lists the keys of the sessions that vCenter has.
func sessions(t *testing.T, c *vsphere.Client) []string {
	t.Helper()
	var m mo.SessionManager
	sm := session.NewManager(c.Client())
	if err := mo.RetrieveProperties(t.Context(), c.Client(), c.Client().ServiceContent.PropertyCollector, sm.Reference(), &m); err != nil {
		t.Fatal(err)
	}
	keys := make([]string, len(m.SessionList))
	for i, s := range m.SessionList {
		keys[i] = s.Key
	}
	return keys
}

// kill ends every session but c's own.
func kill(t *testing.T, c *vsphere.Client) {
	t.Helper()
	own, err := session.NewManager(c.Client()).UserSession(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range sessions(t, c) {
		if key == own.Key {
			continue
		}
		_, err := methods.TerminateSession(t.Context(), c.Client(), &types.TerminateSession{
			This: *c.Client().ServiceContent.SessionManager, SessionId: []string{key},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestSessionIsRenewedOnceForAll(t *testing.T) {
	t.Parallel()
	v := startVCSim(t)
	keeper, c := v.connect(t), v.connect(t)
	vm := anyVM(t, c)
	before := v.count("Login")
	kill(t, keeper)

	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := vm.Config(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := v.count("Login") - before; got != 1 {
		t.Errorf("logged in %d times, want once", got)
	}
}

func TestRenewLogsInOnlyWhenNeeded(t *testing.T) {
	t.Parallel()
	v := startVCSim(t)
	keeper, c := v.connect(t), v.connect(t)
	before := v.count("Login")
	if err := c.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := v.count("Login") - before; got != 0 {
		t.Errorf("a living session logged in %d times", got)
	}
	kill(t, keeper)
	if err := c.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := v.count("Login") - before; got != 1 {
		t.Errorf("a dead session logged in %d times, want once", got)
	}
}

func TestCloseLogsOutEvenAfterCancellation(t *testing.T) {
	t.Parallel()
	v := startVCSim(t)
	keeper := v.connect(t)
	c, err := vsphere.Connect(t.Context(), v.options())
	if err != nil {
		t.Fatal(err)
	}
	if got := len(sessions(t, keeper)); got != 2 {
		t.Fatalf("%d sessions before Close, want 2", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 {
		if err := c.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(sessions(t, keeper)); got != 1 {
		t.Errorf("%d sessions after Close, want 1", got)
	}
	if _, err := anyVMRef(keeper, c).Config(t.Context()); err == nil {
		t.Error("a closed client answers")
	}
}

// anyVMRef returns a VM of c that keeper has found.
func anyVMRef(keeper, c *vsphere.Client) *vsphere.VM {
	found, err := keeper.FindVMs(context.Background(), "")
	if err != nil || len(found) == 0 {
		return c.VM("vm-0")
	}
	return c.VM(found[0].MoRef)
}

func TestReadsAreRepeatedChangesAreNot(t *testing.T) {
	t.Parallel()
	v := startVCSim(t)
	c := v.connect(t)
	vm := anyVM(t, c)

	v.refuseNext("RetrieveProperties", 2)
	v.refuseNext("RetrievePropertiesEx", 2)
	if _, err := vm.Config(t.Context()); err != nil {
		t.Errorf("read: %v", err)
	}
	v.refuseNext("RetrieveProperties", 0)
	v.refuseNext("RetrievePropertiesEx", 0)

	v.refuseNext("Rename_Task", 1)
	err := vm.Rename(t.Context(), "renamed")
	if err == nil {
		t.Error("a change was repeated")
	}
	if got := v.count("Rename_Task"); got != 1 {
		t.Errorf("%d calls, want 1", got)
	}
}

func TestCancelledWaitEndsAtOnce(t *testing.T) {
	t.Parallel()
	v := startVCSim(t)
	c := v.connect(t)
	vm := anyVM(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	<-ctx.Done()
	if _, err := vm.Config(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestMissingVM(t *testing.T) {
	t.Parallel()
	v := startVCSim(t)
	c := v.connect(t)
	vm := c.VM("vm-404")
	if _, err := vm.Config(t.Context()); !errors.Is(err, vsphere.ErrNotFound) {
		t.Errorf("Config: got %v, want ErrNotFound", err)
	}
	if err := vm.Rename(t.Context(), "x"); !errors.Is(err, vsphere.ErrNotFound) {
		t.Errorf("Rename: got %v, want ErrNotFound", err)
	}
	for name, f := range map[string]func() error{
		"Destroy":    func() error { return vm.Destroy(t.Context()) },
		"Unregister": func() error { return vm.Unregister(t.Context()) },
	} {
		if err := f(); err != nil {
			t.Errorf("%s of a VM that is gone: %v", name, err)
		}
	}
}

func TestRelocationLockIsTypedWhenMissing(t *testing.T) {
	t.Parallel()
	v := startVCSim(t)
	vm := anyVM(t, v.connect(t))
	if err := vm.DisableRelocation(t.Context(), "test"); !errors.Is(err, vsphere.ErrNotSupported) {
		t.Errorf("got %v, want ErrNotSupported", err)
	}
	if err := vm.EnableRelocation(t.Context(), "test"); err != nil {
		t.Errorf("what cannot be disabled is not enabled again: %v", err)
	}
	if err := vm.DisableStart(t.Context(), "test", "run 7 writes it"); !errors.Is(err, vsphere.ErrNotSupported) {
		t.Errorf("got %v, want ErrNotSupported", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if said := v.bodies["DisableMethods"]; strings.Count(said, "run 7 writes it") != 3 {
		t.Errorf("the reason is not given for each method: %s", said)
	}
}
