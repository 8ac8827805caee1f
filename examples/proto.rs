use std::collections::HashMap;
use recsys::data::*; use recsys::ids::*; use recsys::models::recall::*; use recsys::layers::*; use recsys::losses::*;
use recsys::samplers::*; use recsys::training::*;
use burn::tensor::*; use burn::module::Module; use burn::optim::*;
fn arg(name:&str, d:f64)->f64{ std::env::args().find_map(|a| a.strip_prefix(&format!("{name}=")).map(|v| v.parse().unwrap())).unwrap_or(d)}
fn main(){
  let text=std::fs::read("/work/shared/data/ml-1m/ratings.dat").unwrap(); let text=String::from_utf8_lossy(&text);
  let mut per: std::collections::BTreeMap<u32,Vec<(i64,u32)>>=Default::default();
  for l in text.lines(){ let f:Vec<&str>=l.split("::").collect(); if f[2].parse::<u32>().unwrap()>=4 { per.entry(f[0].parse().unwrap()).or_default().push((f[3].parse().unwrap(),f[1].parse().unwrap())); } }
  per.retain(|_,v| v.len()>=5);
  let mut items:HashMap<u32,u32>=HashMap::new(); let mut rows=vec![];
  for v in per.values_mut(){ v.sort_by_key(|x|x.0); rows.push(v.iter().map(|x|{let n=items.len() as u32; ItemId(*items.entry(x.1).or_insert(n))}).collect::<Vec<_>>()); }
  let n_items=items.len(); println!("{} users {} items",rows.len(),n_items);
  let mut gnames:HashMap<String,u32>=HashMap::new(); let mut gl=vec![vec![];n_items];
  let m=std::fs::read("/work/shared/data/ml-1m/movies.dat").unwrap(); 
  for l in String::from_utf8_lossy(&m).lines(){ let f:Vec<&str>=l.split("::").collect(); if let Some(&i)=items.get(&f[0].parse().unwrap()){ for g in f[2].split('|'){ let n=gnames.len() as u32; gl[i as usize].push(*gnames.entry(g.into()).or_insert(n)); } } }
  let feats= if arg("genres",1.)>0. {ItemFeatures::new(gnames.len(),gl).unwrap()} else {ItemFeatures::none(n_items)};
  let train=Sequences{n_items, rows: rows.iter().map(|r| r[..r.len()-2].to_vec()).collect()};
  let device=Device::flex();
  let mut counts=vec![0u64;n_items]; for r in &train.rows{for i in r{counts[i.index()]+=1}}
  let alpha=arg("alpha",0.); let sampler: Box<dyn NegativeSampler>= if alpha>0. {Box::new(PopularitySampler::new(&counts,alpha).unwrap())} else if alpha<0. {Box::new(InBatchSampler::new(&counts).unwrap())} else {Box::new(UniformSampler::new(n_items).unwrap())};
  let n=arg("neg",512.) as usize;
  let loss=match arg("loss",0.) as i32 {0=>RetrievalLoss::SampledSoftmax{n_negatives:n},1=>RetrievalLoss::FullSoftmax,2=>RetrievalLoss::InBatchSoftmax{log_q:arg("logq",1.)>0.,symmetric:false,n_negatives:n},3=>RetrievalLoss::Bpr{n_negatives:n},_=>RetrievalLoss::BinaryCrossEntropy{n_negatives:n}};
  let d=arg("d",64.) as usize; let h=arg("h",128.) as usize;
  let mk=|h:usize| {let m=MlpConfig::new(d).with_dropout(arg("hdrop",0.)); if h>0 {m.with_hidden([h])} else {m}};
  let cfg=TwoTowerConfig{d_embedding:arg("de",64.) as usize,query_mlp:mk(h),item_mlp:mk(arg("ih",h as f64) as usize),pooling:if arg("k",4.)>0. {Pooling::Recency{n_scales:arg("k",4.) as usize}} else {Pooling::Mean},max_len:arg("len",50.) as usize,user_embedding:arg("user",0.)>0.,normalize:arg("norm",1.)>0.,temperature:arg("t",0.07),learn_temperature:arg("lt",1.)>0.,dropout:arg("drop",0.1),loss};
  let mut model=cfg.init(rows.len(),&feats,arg("seed",1.) as u64,&device).unwrap().train();
  let mut src=RetrievalBatches::new(&train,&*sampler,loss,cfg.max_len,arg("b",64.) as usize,1).unwrap();
  if arg("pos",0.)>0. { src=src.with_positions(arg("pos",0.) as usize); }
  let wd=arg("wd",0.) as f32;
  let mut opt:ModuleOptimizer=AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(wd).init().into();
  let epochs=arg("epochs",10.) as usize; let total=(epochs*src.n_batches()) as f64; let mut step=0f64; let t0=std::time::Instant::now();
  for e in 0..epochs{ let t=std::time::Instant::now(); let mut sum=0.; let mut nb=0; let mut nr=0; let mut prep=0.;
    let mut it=src.epoch(e); loop { let tp=std::time::Instant::now(); let Some(b)=it.next() else {break}; prep+=tp.elapsed().as_secs_f64(); nr+=b.rows.len();
      let lr0=arg("lr",1e-3); let warm=100f64; let lr= if step<warm {lr0*(step+1.)/warm} else if arg("decay",1.)>0. {lr0*(1.-(step-warm)/(total-warm)).max(0.01)} else {lr0}; step+=1.;
      let l=model.loss(b); sum+=l.clone().into_scalar::<f32>() as f64; nb+=1;
      let g=GradientsParams::from_grads(l.backward(),&model); model=opt.step(lr,model,g); }
    let secs=t.elapsed().as_secs_f64();
    if (e+1)%(arg("every",2.) as usize)==0 || e+1==epochs { let mv=model.valid();
      for which in [0usize,1] { if which==1 && e+1<epochs {continue}
      let its:Vec<f32>=mv.encode_items().into_data().into_vec().unwrap(); let dd=its.len()/n_items;
      let (mut r10,mut r100,mut r200,mut nd)=(0,0,0,0.);
      for chunk in (0..rows.len()).collect::<Vec<_>>().chunks(512){
        let hs:Vec<&[ItemId]>=chunk.iter().map(|&u| &rows[u][..rows[u].len()-2+which]).collect(); let us:Vec<UserId>=chunk.iter().map(|&u|UserId(u as u32)).collect();
        let q:Vec<f32>=mv.encode_queries(&hs,&us).into_data().into_vec().unwrap();
        for (j,&u) in chunk.iter().enumerate(){ let qv=&q[j*dd..(j+1)*dd]; let tgt=rows[u][rows[u].len()-2+which]; let sc=|i:usize| qv.iter().zip(&its[i*dd..(i+1)*dd]).map(|(a,b)|a*b).sum::<f32>();
          let ts=sc(tgt.index()); let seen:std::collections::HashSet<_>=hs[j].iter().collect(); let mut rank=1; for i in 0..n_items { if i!=tgt.index() && !seen.contains(&ItemId(i as u32)) { let s=sc(i); if s>ts || (s==ts&&i<tgt.index()) {rank+=1} } }
          if rank<=10{r10+=1; nd+=1./((rank+1) as f64).log2()} if rank<=100{r100+=1} if rank<=200{r200+=1} } }
      let nn=rows.len() as f64; println!("{} epoch {} {:.1}s (prep {:.1}) {} rows loss {:.4} tau {:.4} R@10 {:.4} NDCG {:.4} R@100 {:.4} R@200 {:.4} total {:.0}s",if which==0{"val"}else{"TEST"},e+1,secs,prep,nr,sum/nb as f64,mv.temperature(),r10 as f64/nn,nd/nn,r100 as f64/nn,r200 as f64/nn,t0.elapsed().as_secs_f64()); } }
  }
}
