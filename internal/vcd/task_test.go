package vcd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const taskPath = "/api/task/9e0fe5aa-59b3-474a-a89a-72228587cb09"

func taskXML(status, inner string) string {
	return `<Task xmlns="http://www.vmware.com/vcloud/v1.5" status="` + status + `" operation="Stopping web" operationName="vappUndeploy"
		href="https://h` + taskPath + `">` + inner + `</Task>`
}

func TestTasks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, status, inner, want string }{
		{"success is none", "success", "", ""},
		{"an error gives its cause", "error", `<Error message="no space" majorErrorCode="500" minorErrorCode="BUSY_ENTITY"/>`,
			"task Stopping web: error BUSY_ENTITY: no space"},
		{"a canceled task is a failure", "canceled", "", "task Stopping web: canceled"},
		{"an aborted task is a failure", "aborted", "<Details>by hand</Details>", "task Stopping web: aborted: by hand"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFakeSite(t)
			var n atomic.Int32
			f.mux.HandleFunc(taskPath, func(w http.ResponseWriter, _ *http.Request) {
				switch n.Add(1) {
				case 1:
					writeXML(w, taskXML("queued", ""))
				case 2:
					writeXML(w, taskXML("preRunning", ""))
				case 3:
					writeXML(w, taskXML("running", "<Progress>40</Progress>"))
				default:
					writeXML(w, taskXML(test.status, test.inner))
				}
			})
			task, err := f.connect(t).WaitTask(t.Context(), "https://h"+taskPath)
			var failed *TaskError
			if test.want == "" {
				if err != nil || task.Status != "success" {
					t.Errorf("WaitTask() = %+v, %v", task, err)
				}
			} else if !errors.As(err, &failed) || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
			if IsBusy(err) != strings.Contains(test.want, busyEntity) {
				t.Errorf("IsBusy(%v) = %t", err, IsBusy(err))
			}
		})
	}
}

func TestWaitingForATaskEndsWithTheContext(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	f.xml(taskPath, taskXML("running", ""))
	c := f.connect(t)
	_, err := c.WaitTask(background(t, 50*time.Millisecond), taskPath)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("WaitTask() = %v", err)
	}
}

func TestDoTaskFindsTheTask(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	f.xml(taskPath, taskXML("canceled", ""))
	f.mux.HandleFunc("/api/task-itself", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(202)
		fmt.Fprint(w, taskXML("running", ""))
	})
	f.mux.HandleFunc("/api/entity", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", TypeVApp)
		w.WriteHeader(201)
		fmt.Fprint(w, `<VApp href="https://h/api/vApp/x"><Tasks>`+taskXML("queued", "")+`</Tasks></VApp>`)
	})
	f.mux.HandleFunc("/api/location", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "https://h"+taskPath)
		w.WriteHeader(202)
	})
	f.mux.HandleFunc("/api/none", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	c := f.connect(t)
	for _, path := range []string{"/api/task-itself", "/api/entity", "/api/location"} {
		answer, err := c.DoTask(t.Context(), Request{Method: "POST", Href: path})
		var failed *TaskError
		if !errors.As(err, &failed) || failed.Status != "canceled" || answer == nil {
			t.Errorf("%s: %v, %v", path, answer, err)
		}
	}
	if _, err := c.DoTask(t.Context(), Request{Method: "POST", Href: "/api/none"}); err != nil {
		t.Error(err)
	}
	href, err := c.create(t.Context(), Request{Href: "/api/entity"})
	if href != "https://h/api/vApp/x" || err == nil {
		t.Errorf("create() = %q, %v; want the href beside the task's failure", href, err)
	}
}

func TestRecordedTask(t *testing.T) {
	t.Parallel()
	var e taskElement
	if err := parse(recorded(t, "post_reconfigure_vm-virtual_hardware.xml"), "Task", &e); err != nil {
		t.Fatal(err)
	}
	got := e.task()
	if got.Status != "queued" || got.OperationName != "vappUpdateVm" || got.Owner.Name != "Databasy Machiny" ||
		got.Owner.ID != "urn:vcloud:vm:8dc9990c-a55a-418e-8e21-5942a20b93ef" || got.Start.IsZero() || got.Ended() {
		t.Errorf("%+v", got)
	}
}

func TestMaintenance(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	id := "urn:vcloud:vapp:" + vappUUID
	base := "/api/vApp/vapp-" + vappUUID
	var in atomic.Bool
	f.mux.HandleFunc("GET "+base, func(w http.ResponseWriter, _ *http.Request) {
		writeXML(w, fmt.Sprintf(`<VApp id="%s"><InMaintenanceMode>%t</InMaintenanceMode></VApp>`, id, in.Load()))
	})
	set := func(to bool) func(w http.ResponseWriter, _ *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			if in.Swap(to) == to {
				writeError(w, 409, "INVALID_STATE", "is so already")
				return
			}
			w.WriteHeader(204)
		}
	}
	f.mux.HandleFunc("POST "+base+"/action/enterMaintenanceMode", set(true))
	f.mux.HandleFunc("POST "+base+"/action/exitMaintenanceMode", set(false))
	c := f.connect(t)
	for range 2 {
		if err := c.EnterMaintenance(t.Context(), id); err != nil || !in.Load() {
			t.Errorf("EnterMaintenance() = %v", err)
		}
	}
	for range 2 {
		if err := c.ExitMaintenance(t.Context(), id); err != nil || in.Load() {
			t.Errorf("ExitMaintenance() = %v", err)
		}
	}
	gone := "urn:vcloud:vapp:00000000-0000-0000-0000-000000000000"
	if err := c.ExitMaintenance(t.Context(), gone); err != nil {
		t.Errorf("ExitMaintenance() of a vApp that is gone = %v", err)
	}
	if err := c.EnterMaintenance(t.Context(), gone); !IsNotFound(err) {
		t.Errorf("EnterMaintenance() of a vApp that is gone = %v", err)
	}
}
