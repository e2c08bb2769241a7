package vcd

import (
	"net/http"
	"strings"
	"testing"
)

func TestActionsAskForTheRightThing(t *testing.T) {
	t.Parallel()
	const (
		vapp = "/api/vApp/vapp-" + vappUUID
		vim  = "/api/admin/extension/vimServer/55555555-5555-5555-5555-555555555555"
		vdc  = "/api/vdc/" + vdcUUID
		h    = "https://elsewhere"
	)
	for _, test := range []struct {
		request, contentType string
		call                 func(c *Client) error
	}{
		{"POST " + vapp + "/power/action/powerOn", "", func(c *Client) error { return c.PowerOn(t.Context(), h+vapp) }},
		{"POST " + vapp + "/power/action/powerOff", "", func(c *Client) error { return c.PowerOff(t.Context(), h+vapp+"/") }},
		{"POST " + vapp + "/action/undeploy", TypeUndeployVApp, func(c *Client) error { return c.Undeploy(t.Context(), h+vapp, "powerOff") }},
		{"POST " + vapp + "/action/discardSuspendedState", "", func(c *Client) error { return c.DiscardSuspendedState(t.Context(), h+vapp) }},
		{"POST " + vapp + "/action/reconfigureVm", TypeVM, func(c *Client) error { return c.ReconfigureVM(t.Context(), h+vapp, []byte("<Vm/>")) }},
		{"POST " + vapp + "/action/controlAccess", TypeControlAccess, func(c *Client) error { return c.SetControlAccess(t.Context(), h+vapp, []byte("<x/>")) }},
		{"PUT " + vapp + "/owner", TypeOwner, func(c *Client) error { return c.SetOwner(t.Context(), h+vapp, h+"/api/admin/user/1") }},
		{"PUT " + vapp + "/startupSection/", TypeStartup, func(c *Client) error {
			return c.PutSection(t.Context(), h+vapp+"/startupSection/", TypeStartup, []byte("<x/>"))
		}},
		{"DELETE " + vapp, "", func(c *Client) error { return c.DeleteVApp(t.Context(), h+vapp) }},
		{"POST " + vdc + "/action/composeVApp", TypeComposeVApp, func(c *Client) error {
			href, err := c.ComposeVApp(t.Context(), h+vdc, "x", "", nil)
			return wantNew(t, href, err)
		}},
		{"POST " + vim + "/importVmAsVApp", TypeImportVMAsVApp, func(c *Client) error {
			href, err := c.ImportVMAsVApp(t.Context(), h+vim, ImportAsVApp{Name: "x", MoRef: "vm-1", VDCHref: h + vdc})
			return wantNew(t, href, err)
		}},
		{"POST " + vim + "/importVm", TypeImportVM, func(c *Client) error {
			href, err := c.ImportVM(t.Context(), h+vim, ImportVM{Name: "x", VMName: "x", MoRef: "vm-1", VDCHref: h + vdc})
			return wantNew(t, href, err)
		}},
		{"POST " + vim + "/importVmIntoExistingVApp", TypeImportVMIntoVApp, func(c *Client) error {
			return c.ImportVMIntoVApp(t.Context(), h+vim, ImportIntoVApp{VAppHref: h + vapp, VMName: "x", MoRef: "vm-1"})
		}},
	} {
		f := newFakeSite(t)
		var contentType string
		f.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			contentType = r.Header.Get("Content-Type")
			if accept := r.Header.Get("Accept"); accept != "application/*+xml;version=39.1" {
				t.Errorf("%s: Accept %q", test.request, accept)
			}
			writeXML(w, `<VApp href="https://elsewhere/new"/>`)
		})
		if err := test.call(f.connect(t)); err != nil {
			t.Errorf("%s: %v", test.request, err)
		}
		if got := f.seen(); len(got) != 1 || got[0] != test.request || contentType != test.contentType {
			t.Errorf("got  %q %s\nwant %s %s", got, contentType, test.request, test.contentType)
		}
	}
}

func wantNew(t *testing.T, href string, err error) error {
	t.Helper()
	if href != "https://elsewhere/new" {
		t.Errorf("href %q", href)
	}
	return err
}

func TestDeletingWhatIsGoneIsNoError(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	f.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, 403, "ACCESS_TO_RESOURCE_IS_FORBIDDEN", "No access to entity")
	})
	c := f.connect(t)
	if err := c.DeleteVApp(t.Context(), "/api/vApp/vapp-"+vappUUID); err != nil {
		t.Error(err)
	}
	f.mux.HandleFunc("/api/vApp/vm-1", func(w http.ResponseWriter, _ *http.Request) {
		writeXML(w, taskXML("error", `<Error message="datastore does not exist" minorErrorCode="NOT_FOUND"/>`))
	})
	if err := c.DeleteVM(t.Context(), "/api/vApp/vm-1"); err == nil {
		t.Error("a deletion that failed passes for one that was not needed")
	}
	if _, err := c.VApp(t.Context(), "web-shop"); err == nil || !strings.Contains(err.Error(), `"web-shop"`) {
		t.Errorf("a name is taken for an id: %v", err)
	}
}
