package vcdsim_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/vcdsim"
)

// Everything that can be done to a cloud, once.
func TestActingOnACloud(t *testing.T) {
	t.Parallel()
	cloud, err := vcdsim.Start(vcdsim.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cloud.Close() })
	ctx := t.Context()
	ok := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused := func(what string, err error, says string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want %s", what, err, says)
		}
	}
	minute := time.Minute
	bytes := int64(7)
	want := vcdsim.Rule{
		ID: "x", Service: "vcd", Server: "lab", Operation: "GET *", Object: "o", User: "u", Skip: 1, Count: 2, Probability: 0.5,
		Effect: vcdsim.Effect{
			After: true, Delay: minute, Hang: true, Status: 500, Code: "C", Message: "m", RetryAfter: minute, Logout: true,
			Reset: &bytes, Rate: 3, Drop: 4, Total: 5,
		},
	}
	_, err = cloud.AddFault(want)
	ok("add a fault", err)
	if got := cloud.Faults(); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	ok("clear it", cloud.ClearFaults("x"))
	_, err = cloud.AddFault(vcdsim.Rule{Server: "nope", Effect: vcdsim.Effect{Status: 500}})
	refused("a server that is not there", err, "there are lab, lab/vc1")
	_, err = cloud.AddFault(vcdsim.Rule{Service: "vcd", Effect: vcdsim.Effect{Status: http.StatusBadGateway}})
	ok("a fault of all calls", err)

	// Which what follows does not meet.
	ok("migrate", cloud.Migrate(ctx, "wiki01", "", "nvme-01"))
	refused("migrate", cloud.Migrate(ctx, "wiki01", "", "nope"), "there are ")
	refused("migrate", cloud.Migrate(ctx, "wiki01", "nope", ""), "there are ")
	refused("answer", cloud.Answer(ctx, "wiki01", "retry"), "asks nothing")
	refused("answer", cloud.Answer(ctx, "wiki01", "perhaps"), "retry")
	const store = "nvme-01"
	ok("fill", cloud.FillDatastore("lab/vc1/"+store, 1<<20))
	ok("empty", cloud.FillDatastore("lab/vc1/"+store, 0))
	refused("fill", cloud.FillDatastore("nope", 1), "there are ")
	ok("datastore's state", cloud.SetDatastoreState("lab/vc1/"+store, "inaccessible"))
	ok("datastore's state", cloud.SetDatastoreState("lab/vc1/"+store, "normal"))
	refused("datastore's state", cloud.SetDatastoreState("lab/vc1/"+store, "odd"), "want normal")
	ok("advance time", cloud.AdvanceTime(time.Hour))
	refused("advance time", cloud.AdvanceTime(-1), "positive")
	ok("delete", cloud.DeleteVApp(ctx, "acme/acme-vdc1/wiki"))
	refused("delete", cloud.DeleteVApp(ctx, "acme/acme-vdc1/wiki"), "not there")
	_, err = cloud.Scrub(ctx)
	ok("scrub", err)
	if calls := cloud.Calls(vcdsim.Rule{Service: "vcd"}, 0); len(calls) != 0 {
		t.Errorf("logged: %+v", calls)
	}
	if calls := cloud.Calls(vcdsim.Rule{Service: "vsphere"}, 0); len(calls) == 0 || calls[0].Time.IsZero() {
		t.Error("what vCD asked its vCenters is not logged")
	}
	cloud.ForgetCalls()
	if calls := cloud.Calls(vcdsim.Rule{Operation: "Destroy_Task"}, 0); len(calls) != 0 {
		t.Errorf("not forgotten: %+v", calls)
	}
}
