"""The published sets that shipped recipes read."""

from __future__ import annotations

from lookalike.images.standard_sets import file_names, split_lists
from lookalike.images.standard_sets.class_folders import ali_products
from lookalike.images.standard_sets.logo_boxes import logo_det_3k
from lookalike.images.standard_sets.standard_set import StandardSet

_RESEARCH = "research only"

_VEHICLE_RECIPES = (
    "vehicle/reid",
    "vehicle/reid_pplcnet",
    "vehicle/resnet50",
    "slim/vehicle_reid_prune",
    "slim/vehicle_reid_quantization",
)
_PERSON_RECIPES = (
    "reid/baseline",
    "reid/softmax_triplet",
    "reid/softmax_triplet_with_center",
    "reid/market1501_ise",
    "reid/metabin_cross_domain",
)

RECIPE_SETS = (
    StandardSet(
        name="sop",
        title="Stanford Online Products",
        homepage="https://cvgl.stanford.edu/projects/lifted_struct/",
        terms=_RESEARCH,
        folder="dataset/SOP",
        needs="Stanford_Online_Products.zip: Ebay_train.txt, Ebay_test.txt, folders of images",
        read=split_lists.stanford_online_products,
        expected={"train_list.txt": (59551, 11318), "test_list.txt": (60502, 11316)},
        recipes=("product/sop", "metric_learning/xbm"),
    ),
    StandardSet(
        name="inshop",
        title="DeepFashion In-Shop Clothes Retrieval",
        homepage="http://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html",
        terms=_RESEARCH,
        folder="dataset/Inshop",
        needs="img.zip and Eval/list_eval_partition.txt",
        read=split_lists.in_shop,
        expected={
            "train_list.txt": (25882, 3997),
            "query_list.txt": (14218, 3985),
            "gallery_list.txt": (12612, 3985),
        },
        dataset="ImageNetDataset",
        recipes=("product/inshop",),
    ),
    StandardSet(
        name="cub200",
        title="CUB-200-2011",
        homepage="https://www.vision.caltech.edu/datasets/cub_200_2011/",
        terms="research and education only",
        folder="dataset/CUB_200_2011",
        needs="CUB_200_2011.tgz: images.txt, image_class_labels.txt, images",
        read=split_lists.cub_200_2011,
        expected={"train_list.txt": (5864, 100), "test_list.txt": (5924, 100)},
        recipes=("quickstart/cub_mobilenetv1",),
    ),
    StandardSet(
        name="veri-wild",
        title="VeRI-Wild",
        homepage="https://github.com/PKU-IMRE/VERI-Wild",
        terms="research only, by request",
        folder="dataset/VeRI-Wild",
        needs="images/VEHICLE/IMAGE.jpg, and train_test_split with either vehicle_info.txt, train_list.txt "
        "and test_{3000,5000,10000}[_query].txt, or train_list_start0.txt and "
        "test_{3000,5000,10000}_id[_query].txt",
        read=split_lists.veri_wild,
        expected={
            "train_test_split/train_list_start0.txt": (277797, 30671),
            "train_test_split/test_3000_id_query.txt": (3000, 3000),
            "train_test_split/test_3000_id.txt": (38861, 3000),
            "train_test_split/test_5000_id_query.txt": (5000, 5000),
            "train_test_split/test_5000_id.txt": (64389, 5000),
            "train_test_split/test_10000_id_query.txt": (10000, 10000),
            "train_test_split/test_10000_id.txt": (128517, 10000),
        },
        recipes=_VEHICLE_RECIPES,
        links=("images",),
    ),
    StandardSet(
        name="compcars",
        title="CompCars, pictures from the web",
        homepage="http://mmlab.ie.cuhk.edu.hk/datasets/comp_cars/",
        terms="research only, by request",
        folder="dataset/CompCars",
        needs="data unpacked: image, label and train_test_split/classification/{train,test}.txt",
        read=split_lists.comp_cars,
        expected={
            "train_test_split/classification/train_label.txt": (16016, 431),
            "train_test_split/classification/test_label.txt": (14939, 431),
        },
        dataset="CompCars",
        recipes=("vehicle/compcars", "slim/vehicle_cls_prune", "slim/vehicle_cls_quantization"),
        links=("image", "label"),
    ),
    StandardSet(
        name="market1501",
        title="Market-1501",
        homepage="https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html",
        terms=_RESEARCH,
        folder="dataset/market1501",
        needs="Market-1501-v15.09.15 with bounding_box_train, query, bounding_box_test",
        read=file_names.market_1501,
        expected={
            "train_list.txt": (12936, 751),
            "query_list.txt": (3368, 750),
            "gallery_list.txt": (15913, 751),
        },
        recipes=_PERSON_RECIPES,
    ),
    StandardSet(
        name="dukemtmc",
        title="DukeMTMC-reID",
        homepage="https://exposing.ai/duke_mtmc/",
        terms="withdrawn by its makers: use only what you have, for research",
        folder="dataset/dukemtmc",
        needs="DukeMTMC-reID with bounding_box_train, query, bounding_box_test",
        read=file_names.duke_mtmc_reid,
        expected={
            "train_list.txt": (16522, 702),
            "query_list.txt": (2228, 702),
            "gallery_list.txt": (17661, 1110),
        },
        recipes=("reid/metabin_cross_domain",),
    ),
    StandardSet(
        name="logodet3k",
        title="LogoDet-3K",
        homepage="https://github.com/Wangjing1551/LogoDet-3K-Dataset",
        terms=_RESEARCH,
        folder="dataset/LogoDet-3K-crop",
        needs="LogoDet-3K/CATEGORY/LOGO with pictures and XML files",
        read=logo_det_3k,
        expected={"LogoDet-3K+train.txt": (155427, 3000), "LogoDet-3K+val.txt": (38834, 3000)},
        dataset="ImageNetDataset",
        recipes=("logo/logo3k",),
        unsure="the reference's own split into 155427 and 38834 logos is not published; ours cuts each fifth "
        "picture of a logo off, so that the counts differ a little",
    ),
    StandardSet(
        name="icartoonface",
        title="iCartoonFace",
        homepage="https://github.com/luxiangju-PersonAI/iCartoonFace",
        terms=_RESEARCH,
        folder="dataset/iCartoonFace",
        needs="icartoonface_rectrain with a folder per person, icartoonface_rectest and "
        "icartoonface_rectest_info.txt",
        read=split_lists.i_cartoon_face,
        expected={"train_list.txt": (389678, 5013), "query.txt": (18000, 2000), "gallery.txt": (4500, 4500)},
        dataset="ICartoonDataset",
        recipes=("cartoon/icartoon",),
        unsure="the reference's own query and gallery lists are not published; ours follow the published "
        "protocol, one image of each person among the distractors",
    ),
    StandardSet(
        name="aliproduct",
        title="AliProducts",
        homepage="https://retailvisionworkshop.github.io/recognition_challenge_2020/",
        terms="terms of the challenge",
        folder="dataset/Aliproduct",
        needs="train and val, each with a folder per product, as train_val.part0 to part9.tar.gz make them "
        "together",
        read=ali_products,
        expected={"train_list.txt": (2498771, 50030), "val_list.txt": (148387, 50030)},
        recipes=(
            "product/aliproduct",
            "hash/aliproduct_dlbhc",
            "general/pp_shitu_v1",
            "general/pp_shitu_v2",
        ),
        unpacks=False,  # the archives make one folder together
    ),
)
