package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/sim/cloud"
	"github.com/vappvault/vappvault/internal/vcd"
)

// TestARunningTaskIsWaitedFor starts a backup while a tenant's task is still
// running: maintenance mode does not stop it.
func TestARunningTaskIsWaitedFor(t *testing.T) {
	t.Parallel()
	inventory := slow(t)
	e := newEnv(t, inventory)
	wiki := e.vapp("wiki")
	done := make(chan time.Time, 1)
	go func() {
		// The task alters a document that the backup keeps.
		err := e.vcd.SetMetadata(t.Context(), wiki.Href, vcd.MetadataEntry{Domain: "GENERAL", Key: "late", Type: vcd.StringValue, Value: "but not too late"})
		if err != nil {
			t.Error(err)
		}
		done <- time.Now()
	}()
	for {
		tasks, err := e.vcd.RunningTasks(t.Context(), wiki.ID)
		if err != nil {
			t.Fatal(err)
		}
		if len(tasks) > 0 {
			break
		}
	}
	point := e.backup("wiki")
	ended := <-done
	if point.SnapshotFirst.Before(ended.Add(-time.Second)) {
		t.Errorf("frozen at %s, while the task ran until %s", point.SnapshotFirst, ended)
	}
	doc, err := e.app(nil).Document(t.Context(), point.ID, "vcd/metadata.xml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(doc, []byte("but not too late")) {
		t.Errorf("the document was read before the task had ended:\n%s", doc)
	}
}

// slow is the default cloud with tasks of vCD that take two seconds.
func slow(t *testing.T) *cloud.Inventory {
	t.Helper()
	text := strings.Replace(string(cloud.DefaultYAML()), "- id: lab\n", "- id: lab\n  taskDelay: 2s\n", 1)
	inventory, err := cloud.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return inventory
}

// TestForeignMaintenanceIsLeftAsItWas backs up a vApp that its administrator
// holds in maintenance mode.
func TestForeignMaintenanceIsLeftAsItWas(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	wiki := e.vapp("wiki")
	if err := e.vcd.EnterMaintenance(t.Context(), wiki.ID); err != nil {
		t.Fatal(err)
	}
	point := e.backup("wiki")
	if point.Maintenance != "foreign" || !e.vapp("wiki").InMaintenance {
		t.Errorf("maintenance %s, now %t", point.Maintenance, e.vapp("wiki").InMaintenance)
	}
	_, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}})
	if err == nil || !strings.Contains(err.Error(), "maintenance mode by somebody else") {
		t.Errorf("overwrite under somebody else's maintenance: %v", err)
	}
	if !e.vapp("wiki").InMaintenance {
		t.Error("somebody else's maintenance mode was ended")
	}
}

// TestTwoRunsOnOneVAppAreKeptApart starts a second backup in mid-run.
func TestTwoRunsOnOneVAppAreKeptApart(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	var second error
	tried := false
	_, err := e.app(func(step string) {
		if strings.HasPrefix(step, "snapshot ") && !tried {
			tried = true
			_, second = e.app(nil).Backup(t.Context(), app.BackupRequest{Selectors: []string{"wiki"}, SamplePercent: -1})
		}
	}).Backup(t.Context(), app.BackupRequest{Selectors: []string{"wiki"}, SamplePercent: -1})
	if err != nil {
		t.Fatal(err)
	}
	if second == nil || !strings.Contains(second.Error(), "claimed by backup") {
		t.Errorf("the second run: %v", second)
	}
	e.tidy(e.vapp("wiki"))
}

// TestMalformedAnswersLoseNothing garbles one document at a time.
func TestMalformedAnswersLoseNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	e.backup("wiki")
	for _, tc := range []struct{ name, path, from, to, want string }{
		{"a document cut short", "/networkConfigSection/", "</NetworkConfigSection>", "", "networkConfigSection"},
		{"a document type declaration", "/leaseSettingsSection/", "<LeaseSettingsSection", `<!DOCTYPE x [<!ENTITY e "boom">]><LeaseSettingsSection`, "leaseSettingsSection"},
		{"no XML at all", "/owner", "<", "{", "owner"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conf := *e.conf
			conf.Sites = append([]config.Site(nil), e.conf.Sites...)
			conf.Sites[0].URL, conf.Sites[0].CA = e.garbling(t, tc.path, tc.from, tc.to)
			a := app.New(app.Options{Config: &conf})
			defer func() { _ = a.Close(t.Context()) }()
			_, err := a.Backup(t.Context(), app.BackupRequest{Selectors: []string{"wiki"}, SamplePercent: -1})
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "wiki") {
				t.Errorf("error: %v", err)
			}
			e.with(t).tidy(e.vapp("wiki"))
		})
	}
	e.verified()
}

// garbling is a vCD in front of the cloud's that alters answers from paths
// with a suffix. It returns its URL and the file of its certificate.
func (e *env) garbling(t *testing.T, suffix, from, to string) (address, ca string) {
	t.Helper()
	return e.proxy(t, func(r *http.Request, body []byte) []byte {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, suffix) {
			return body
		}
		return bytes.Replace(body, []byte(from), []byte(to), 1)
	})
}

// proxy is a vCD in front of the cloud's that alters answers. It returns its
// URL and the file of its certificate.
func (e *env) proxy(t *testing.T, alter func(r *http.Request, body []byte) []byte) (address, ca string) {
	t.Helper()
	target, err := url.Parse(e.conf.Sites[0].URL)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(e.cloud.CA())
	proxy := &httputil.ReverseProxy{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableCompression: true}}
	proxy.ErrorLog = log.New(io.Discard, "", 0) // of calls that were given up
	proxy.Rewrite = func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
		r.Out.Header.Del("Accept-Encoding") // what is compressed cannot be altered
	}
	proxy.ModifyResponse = func(r *http.Response) error {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		body = alter(r.Request, body)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		r.Header.Set("Content-Length", strconv.Itoa(len(body)))
		return nil
	}
	server := httptest.NewTLSServer(proxy)
	t.Cleanup(server.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return server.URL, ca
}

// TestARunThatFailsTidiesUp makes single calls to vCenter fail.
func TestARunThatFailsTidiesUp(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point := e.backup(webShop)
	want := e.sums(e.vapp("web-shop"))
	for _, method := range []string{"CreateSnapshot_Task", "CreateSnapshotEx_Task", "ReconfigVM_Task", "ExportSnapshot", "DisableMethods"} {
		t.Run("backup without "+method, func(t *testing.T) {
			e := e.with(t)
			e.failOnce(method)
			_, err := e.app(nil).Backup(t.Context(), app.BackupRequest{Selectors: []string{webShop}, SamplePercent: -1})
			if err != nil && !errors.Is(err, app.ErrPartial) {
				t.Log(err)
			}
			e.healed()
			e.tidy(e.vapp("web-shop"))
		})
	}
	for _, method := range []string{"ImportVApp", "ReconfigVM_Task", "MoveVirtualDisk_Task", "Destroy_Task"} {
		t.Run("overwrite without "+method, func(t *testing.T) {
			e := e.with(t)
			e.failOnce(method)
			_, err := e.app(nil).Restore(t.Context(), app.RestoreRequest{Point: point.ID, Options: plan.Options{Overwrite: true}})
			e.healed()
			if err == nil {
				t.Log("was done all the same")
			}
			if _, err := e.app(nil).Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			e.tidy(e.vapp("web-shop"))
			sameSums(t, e.sums(e.vapp("web-shop")), want)
			e.noOrphans()
		})
	}
}

func (e *env) failOnce(method string) {
	for _, s := range e.cloud.VCenters() {
		s.Faults().FailCall(method, 1, nil)
	}
}

func (e *env) healed() {
	for _, method := range []string{"CreateSnapshot_Task", "CreateSnapshotEx_Task", "ReconfigVM_Task", "ExportSnapshot", "DisableMethods", "EnableMethods", "ImportVApp", "MoveVirtualDisk_Task", "Destroy_Task"} {
		for _, s := range e.cloud.VCenters() {
			s.Faults().FailCall(method, 0, nil)
		}
	}
}
