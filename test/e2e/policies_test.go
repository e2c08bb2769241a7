package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/vcd"
)

// TestFirmwareAndQuotaComeBack loses a vApp that had changed its firmware's
// variables, and bore a quota policy of its own.
func TestFirmwareAndQuotaComeBack(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	wiki := e.vapp("wiki")
	want := bytes.Repeat([]byte("BootOrder=0003,0001;"), 400)
	vm := e.vsphere(wiki.VMs[0])
	config, err := vm.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := vm.PutFile(t.Context(), strings.TrimSuffix(config.VmPathName, ".vmx")+".nvram", want); err != nil {
		t.Fatal(err)
	}
	policy := e.json(http.MethodPost, "/cloudapi/1.0.0/quotaPolicies", `{"name":"four VMs","quotaPoolDefinitions":[{"resourceType":"storage","quota":4000000,"quotaResourceUnit":"MB"}]}`)
	id, _ := policy["id"].(string)
	quota := "/cloudapi/1.0.0/vapps/" + wiki.ID + "/quotaPolicy"
	if _, err := e.vcd.DoTask(t.Context(), vcd.Request{Method: http.MethodPut, Href: quota, ContentType: "application/json",
		Body: []byte(`{"quotaPolicyReference":{"name":"four VMs","id":"` + id + `"}}`)}); err != nil {
		t.Fatal(err)
	}
	point := e.backup("wiki")
	e.destroy(e.vapp("wiki"))

	e.restore(app.RestoreRequest{Point: point.ID})
	wiki = e.vapp("wiki")
	vm = e.vsphere(wiki.VMs[0])
	if config, err = vm.Config(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := vm.File(t.Context(), strings.TrimSuffix(config.VmPathName, ".vmx")+".nvram")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the firmware's variables are %d bytes (%v), want the %d that were there", len(got), err, len(want))
	}
	if now := e.json(http.MethodGet, "/cloudapi/1.0.0/vapps/"+wiki.ID+"/quotaPolicy", ""); !strings.Contains(toText(now), "four VMs") {
		t.Errorf("quota policy: got %v", now)
	}
}

func toText(v any) string { return fmt.Sprint(v) }
