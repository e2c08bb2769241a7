package vcenter

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// An inventory holds the objects that the server is built from.
type inventory struct {
	dc         *simulator.Datacenter
	cluster    *simulator.ClusterComputeResource
	hosts      []types.ManagedObjectReference
	datastores map[string]*simulator.Datastore
	networks   map[string]types.BaseVirtualDeviceBackingInfo
	esx        map[types.ManagedObjectReference]*esxHost // by host

	mu      sync.Mutex
	folders map[string]types.ManagedObjectReference // by path below the vm folder
	pools   map[string]types.ManagedObjectReference
	names   map[string]string // moref by name of VMs that AddVM made
	used    map[string]int64  // bytes by datastore
	sizes   map[*layer]int64
	usage   map[string]*usage // by datastore
	swaps   map[types.ManagedObjectReference]swapFile
}

// locking calls one of vcsim's methods as its dispatcher does.
func locking[T soap.HasFault](ctx *simulator.Context, obj interface {
	Reference() types.ManagedObjectReference
}, f func() soap.HasFault) (T, error) {
	var res soap.HasFault
	ctx.WithLock(obj, func() { res = f() })
	body, ok := res.(T)
	if !ok {
		return body, fmt.Errorf("%s: unexpected answer %T", obj.Reference().Value, res)
	}
	if f := res.Fault(); f != nil {
		if fault, ok := f.VimFault().(types.BaseMethodFault); ok {
			return body, refuse(fault, "%s: %T", obj.Reference().Value, fault)
		}
		return body, fmt.Errorf("%s: %s", obj.Reference().Value, f.String)
	}
	return body, nil
}

func (s *Server) build() error {
	s.inv = inventory{
		datastores: map[string]*simulator.Datastore{},
		networks:   map[string]types.BaseVirtualDeviceBackingInfo{},
		esx:        map[types.ManagedObjectReference]*esxHost{},
		folders:    map[string]types.ManagedObjectReference{},
		pools:      map[string]types.ManagedObjectReference{},
		names:      map[string]string{},
		used:       map[string]int64{}, sizes: map[*layer]int64{},
		usage: map[string]*usage{}, swaps: map[types.ManagedObjectReference]swapFile{},
	}
	ctx := s.newContext()
	calls := &sessionCalls{s: s}
	calls.Self = sessionCallsRef
	s.model.Map().Put(calls)
	return errors.Join(s.buildPermissions(), s.buildCluster(ctx), s.buildDatastores(ctx), s.buildNetworks(ctx), s.buildPools(ctx), s.startHosts(ctx))
}

func (s *Server) buildCluster(ctx *simulator.Context) error {
	reg := s.model.Map()
	root, ok := reg.Get(s.model.ServiceContent.RootFolder).(*simulator.Folder)
	if !ok {
		return errors.New("no root folder")
	}
	made, err := locking[*methods.CreateDatacenterBody](ctx, root, func() soap.HasFault {
		return root.CreateDatacenter(ctx, &types.CreateDatacenter{This: root.Self, Name: s.cfg.Datacenter})
	})
	if err != nil {
		return fmt.Errorf("datacenter: %w", err)
	}
	s.inv.dc = reg.Get(made.Res.Returnval).(*simulator.Datacenter)
	folder := reg.Get(s.inv.dc.HostFolder).(*simulator.Folder)
	cl, err := locking[*methods.CreateClusterExBody](ctx, folder, func() soap.HasFault {
		return folder.CreateClusterEx(ctx, &types.CreateClusterEx{This: folder.Self, Name: s.cfg.Cluster})
	})
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	s.inv.cluster = reg.Get(cl.Res.Returnval).(*simulator.ClusterComputeResource)
	for i := range s.cfg.Hosts {
		spec := types.HostConnectSpec{HostName: fmt.Sprintf("esx%02d.%s.example", i+1, strings.ToLower(s.cfg.Name))}
		added, err := locking[*methods.AddHost_TaskBody](ctx, s.inv.cluster, func() soap.HasFault {
			return s.inv.cluster.AddHostTask(ctx, &types.AddHost_Task{This: s.inv.cluster.Self, Spec: spec, AsConnected: true})
		})
		if err != nil {
			return fmt.Errorf("host: %w", err)
		}
		res, err := await(ctx, added.Res.Returnval)
		if err != nil {
			return fmt.Errorf("host: %w", err)
		}
		s.inv.hosts = append(s.inv.hosts, res.(types.ManagedObjectReference))
	}
	return nil
}

func (s *Server) buildDatastores(ctx *simulator.Context) error {
	reg := s.model.Map()
	for _, d := range s.cfg.Datastores {
		dir := s.store.dirs[d.Name]
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		var ref types.ManagedObjectReference
		for _, h := range s.inv.hosts {
			host := reg.Get(h).(*simulator.HostSystem)
			dss := reg.Get(*host.ConfigManager.DatastoreSystem).(*simulator.HostDatastoreSystem)
			made, err := locking[*methods.CreateLocalDatastoreBody](ctx, dss, func() soap.HasFault {
				return dss.CreateLocalDatastore(ctx, &types.CreateLocalDatastore{This: dss.Self, Name: d.Name, Path: dir})
			})
			if err != nil {
				return fmt.Errorf("datastore %s: %w", d.Name, err)
			}
			if made.Res.Returnval.Value != "" {
				ref = made.Res.Returnval
			}
		}
		ds := s.findDatastore(d.Name, ref)
		if ds == nil {
			return fmt.Errorf("datastore %s: not found after its creation", d.Name)
		}
		s.inv.datastores[d.Name] = ds
		ctx.WithLock(ds, func() {
			info := types.DatastoreInfo{Name: d.Name, Url: dir, FreeSpace: d.Capacity, MaxFileSize: 64 << 40}
			ds.Info = &types.LocalDatastoreInfo{DatastoreInfo: info, Path: dir}
			if d.Type == "VMFS" {
				ds.Info = &types.VmfsDatastoreInfo{DatastoreInfo: info, Vmfs: &types.HostVmfsVolume{
					HostFileSystemVolume: types.HostFileSystemVolume{Type: "VMFS", Name: d.Name, Capacity: d.Capacity},
					BlockSizeMb:          1, MajorVersion: 6, Version: "6.82", Local: types.NewBool(false),
				}}
			}
			ds.Summary.Type, ds.Summary.Capacity, ds.Summary.FreeSpace = d.Type, d.Capacity, d.Capacity
			ds.Summary.MultipleHostAccess = types.NewBool(s.cfg.Hosts > 1)
		})
	}
	return nil
}

// findDatastore returns the datastore in the inventory: for the second host
// and later ones vcsim answers with one that is not there.
func (s *Server) findDatastore(name string, ref types.ManagedObjectReference) *simulator.Datastore {
	if ds, ok := s.model.Map().Get(ref).(*simulator.Datastore); ok {
		return ds
	}
	for _, e := range s.model.Map().All("Datastore") {
		if ds, ok := e.(*simulator.Datastore); ok && ds.Name == name {
			return ds
		}
	}
	return nil
}

func (s *Server) buildNetworks(ctx *simulator.Context) error {
	reg := s.model.Map()
	s.inv.networks["VM Network"] = &types.VirtualEthernetCardNetworkBackingInfo{
		VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: "VM Network"},
	}
	if len(s.cfg.Networks) == 0 {
		return nil
	}
	folder := reg.Get(s.inv.dc.NetworkFolder).(*simulator.Folder)
	made, err := locking[*methods.CreateDVS_TaskBody](ctx, folder, func() soap.HasFault {
		return folder.CreateDVSTask(ctx, &types.CreateDVS_Task{This: folder.Self, Spec: types.DVSCreateSpec{
			ConfigSpec: &types.VMwareDVSConfigSpec{DVSConfigSpec: types.DVSConfigSpec{Name: "dvSwitch-" + s.cfg.Name}},
		}})
	})
	if err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	res, err := await(ctx, made.Res.Returnval)
	if err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	dvs := reg.Get(res.(types.ManagedObjectReference)).(*simulator.DistributedVirtualSwitch)
	// The uplink's port group is still being made, under the lock of the
	// context from before: another one has to wait for that.
	ctx = s.newContext()
	var members []types.DistributedVirtualSwitchHostMemberConfigSpec
	for _, h := range s.inv.hosts {
		members = append(members, types.DistributedVirtualSwitchHostMemberConfigSpec{Operation: "add", Host: h})
	}
	joined, err := locking[*methods.ReconfigureDvs_TaskBody](ctx, dvs, func() soap.HasFault {
		return dvs.ReconfigureDvsTask(ctx, &types.ReconfigureDvs_Task{This: dvs.Self, Spec: &types.DVSConfigSpec{Host: members}})
	})
	if err != nil {
		return fmt.Errorf("switch: hosts: %w", err)
	}
	if _, err := await(ctx, joined.Res.Returnval); err != nil {
		return fmt.Errorf("switch: hosts: %w", err)
	}
	for _, name := range s.cfg.Networks {
		if s.inv.networks[name] != nil {
			continue
		}
		if err := s.addPortgroup(ctx, dvs, name); err != nil {
			return fmt.Errorf("network %s: %w", name, err)
		}
	}
	markUplinks(ctx, dvs)
	return nil
}

// markUplinks tags the port group that a switch is born with, the one of its
// uplinks, as vCenter does.
func markUplinks(ctx *simulator.Context, dvs *simulator.DistributedVirtualSwitch) {
	for _, ref := range dvs.Portgroup {
		pg, ok := ctx.Map.Get(ref).(*simulator.DistributedVirtualPortgroup)
		if !ok || !strings.HasPrefix(pg.Name, dvs.Name+"-DVUplinks") {
			continue
		}
		ctx.WithLock(pg, func() {
			pg.Tag = []types.Tag{{Key: "SYSTEM/DVS.UPLINKPG"}}
			pg.Config.Uplink = types.NewBool(true)
		})
	}
}

func (s *Server) addPortgroup(ctx *simulator.Context, dvs *simulator.DistributedVirtualSwitch, name string) error {
	added, err := locking[*methods.AddDVPortgroup_TaskBody](ctx, dvs, func() soap.HasFault {
		return dvs.AddDVPortgroupTask(ctx, &types.AddDVPortgroup_Task{This: dvs.Self, Spec: []types.DVPortgroupConfigSpec{{
			Name: name, Type: string(types.DistributedVirtualPortgroupPortgroupTypeEarlyBinding), NumPorts: 8,
		}}})
	})
	if err != nil {
		return err
	}
	if _, err := await(ctx, added.Res.Returnval); err != nil {
		return err
	}
	for _, e := range s.model.Map().All("DistributedVirtualPortgroup") {
		if pg, ok := e.(*simulator.DistributedVirtualPortgroup); ok && pg.Name == name {
			s.inv.networks[name] = &types.VirtualEthernetCardDistributedVirtualPortBackingInfo{
				Port: types.DistributedVirtualSwitchPortConnection{PortgroupKey: pg.Key, SwitchUuid: dvs.Uuid},
			}
			return nil
		}
	}
	return errors.New("not found after its creation")
}

func (s *Server) buildPools(ctx *simulator.Context) error {
	reg := s.model.Map()
	root := reg.Get(*s.inv.cluster.ResourcePool).(*simulator.ResourcePool)
	poolTemplate.Lock()
	ownSummary(root)
	poolTemplate.Unlock()
	s.inv.pools[""], s.inv.pools["Resources"] = root.Self, root.Self
	for _, name := range s.cfg.ResourcePools {
		made, err := locking[*methods.CreateResourcePoolBody](ctx, root, func() soap.HasFault {
			return createPool(ctx, root, &types.CreateResourcePool{This: root.Self, Name: name, Spec: types.DefaultResourceConfigSpec()})
		})
		if err != nil {
			return fmt.Errorf("resource pool %s: %w", name, err)
		}
		s.inv.pools[name] = made.Res.Returnval
	}
	return nil
}

// pool returns the resource pool of that path, making what is missing.
func (s *Server) pool(ctx *simulator.Context, path string) (types.ManagedObjectReference, error) {
	s.inv.mu.Lock()
	defer s.inv.mu.Unlock()
	if ref, ok := s.inv.pools[path]; ok && s.model.Map().Get(ref) != nil {
		return ref, nil
	}
	at, sofar := s.inv.pools[""], ""
	for _, name := range strings.Split(path, "/") {
		sofar = strings.TrimPrefix(sofar+"/"+name, "/")
		if ref, ok := s.inv.pools[sofar]; ok && s.model.Map().Get(ref) != nil {
			at = ref
			continue
		}
		parent, ok := s.model.Map().Get(at).(*simulator.ResourcePool)
		if !ok {
			return at, gone(at)
		}
		made, err := locking[*methods.CreateResourcePoolBody](ctx, parent, func() soap.HasFault {
			return createPool(ctx, parent, &types.CreateResourcePool{This: at, Name: name, Spec: types.DefaultResourceConfigSpec()})
		})
		if err != nil {
			return at, fmt.Errorf("resource pool %s: %w", sofar, err)
		}
		at = made.Res.Returnval
		s.inv.pools[sofar] = at
	}
	return at, nil
}

// AddFolders makes folders below the datacenter's VM folder, by their paths,
// those that are missing.
func (s *Server) AddFolders(paths ...string) error {
	ctx := s.newContext()
	for _, path := range paths {
		if _, err := s.folder(ctx, path); err != nil {
			return fmt.Errorf("vcenter simulator: %w", err)
		}
	}
	return nil
}

// unescaped are the characters that a new folder's name is given with and that
// vcsim, as vSphere does, escapes.
var unescaped = strings.NewReplacer("%2f", "/", "%5c", `\`, "%25", "%")

// folder returns the VM folder of that path, making what is missing.
func (s *Server) folder(ctx *simulator.Context, path string) (types.ManagedObjectReference, error) {
	s.inv.mu.Lock()
	defer s.inv.mu.Unlock()
	at, sofar := s.inv.dc.VmFolder, ""
	for _, name := range strings.Split(path, "/") {
		if name == "" {
			continue
		}
		sofar += "/" + name
		if ref, ok := s.inv.folders[sofar]; ok {
			at = ref
			continue
		}
		parent := s.model.Map().Get(at).(*simulator.Folder)
		made, err := locking[*methods.CreateFolderBody](ctx, parent, func() soap.HasFault {
			return parent.CreateFolder(ctx, &types.CreateFolder{This: at, Name: unescaped.Replace(name)})
		})
		if err != nil {
			return at, fmt.Errorf("folder %s: %w", sofar, err)
		}
		at = made.Res.Returnval
		s.inv.folders[sofar] = at
	}
	return at, nil
}

// account brings the free space of the datastores up to date with what the
// files of layers take now; a layer that is gone takes nothing.
func (s *Server) account(ctx *simulator.Context, layers ...*layer) {
	s.inv.mu.Lock()
	touched := map[string]bool{}
	for _, l := range layers {
		size := l.takes()
		s.inv.used[l.file.datastore] += size - s.inv.sizes[l]
		s.inv.sizes[l] = size
		if size == 0 {
			delete(s.inv.sizes, l)
		}
		touched[l.file.datastore] = true
	}
	for name := range touched {
		u := s.inv.use(name)
		u.left, u.stale = s.capacityOf(name)-s.inv.taken(name), false
	}
	s.inv.mu.Unlock()
	s.showSpace(ctx, slices.Collect(maps.Keys(touched))...)
}

// showSpace shows what datastores have left.
func (s *Server) showSpace(ctx *simulator.Context, names ...string) {
	s.space.Lock()
	defer s.space.Unlock()
	for _, name := range names {
		ds := s.inv.datastores[name]
		if ds == nil {
			continue
		}
		s.inv.mu.Lock()
		used := s.inv.taken(name)
		s.inv.mu.Unlock()
		ctx.WithLock(ds, func() {
			ds.Summary.FreeSpace = max(ds.Summary.Capacity-used, 0)
			ctx.Update(ds, []types.PropertyChange{{Name: "summary.freeSpace", Val: ds.Summary.FreeSpace}})
		})
	}
}
